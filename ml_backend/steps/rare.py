"""Rare: a share of the queue for what looks like the few labeled examples of named classes.

A strategy looks for what the model is unsure of, and a class that it has hardly seen is none of
that. The share is kept by the labels and not by places, since the queue is ranked anew after every
annotation: a tenth place would never be reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import floor

import numpy as np
from numpy.typing import NDArray

from ml_backend.records import ChoiceControl
from ml_backend.steps.situation import Situation
from ml_backend.steps.workbench import Workbench
from strategies import Candidates, Labeled, Ranking, Reason, rank


def mix_in_similar(
    bench: Workbench,
    situation: Situation,
    control: ChoiceControl,
    ranking: Ranking,
    embeddings_ND: NDArray[np.float32],
    embeddings_MD: NDArray[np.float32],
) -> Ranking:
    """Give `similar_share` of the order to the nearest neighbours of labeled rare classes.

    The classes take turns. The order stays as it is while none of them is labeled. embeddings_ND
    are of `situation.ranked_ids`, whose first rows the candidates are.
    """
    plan, n = bench.plan, len(situation.candidate_ids_N)
    rare = [row for row, name in enumerate(control.classes) if name in plan.rare_classes]
    examples_M = np.isin(situation.labels_M, rare)
    if not plan.similar_share or not n or not examples_M.any():
        return ranking
    alike = rank(
        "similar",
        Candidates(situation.candidate_ids_N, None, embeddings_ND[:n]),
        Labeled(embeddings_MD[examples_M], situation.labels_M[examples_M]),
        head=plan.window,
        rng=np.random.default_rng(plan.seed),
    )
    labels = len(situation.labeled_ids_M) + len(situation.holdout_ids_H)
    return _merged(ranking, alike, plan.similar_share, labels, min(plan.window, n))


def _merged(ranking: Ranking, alike: Ranking, share: float, labels: int, length: int) -> Ranking:
    """Merge the first `length` places; the rest follows as it was ranked."""
    used: set[int] = set()

    def unused(source: Ranking) -> Iterator[int]:
        return (place for place, row in enumerate(source.order.tolist()) if row not in used)

    strategys, alikes = unused(ranking), unused(alike)
    first: list[int] = []
    reasons: list[Reason] = []
    for number in range(labels, labels + length):
        is_turn = floor((number + 1) * share) > floor(number * share)
        source, places = (alike, alikes) if is_turn else (ranking, strategys)
        place = next(places)
        row = int(source.order[place])
        used.add(row)
        first.append(row)
        if place < len(source.reasons) and len(reasons) == len(first) - 1:
            reasons.append(source.reasons[place])
    behind_N = ranking.order[~np.isin(ranking.order, first)]
    order = np.concatenate([np.array(first, dtype=ranking.order.dtype), behind_N])
    return replace(ranking, order=order, reasons=tuple(reasons))
