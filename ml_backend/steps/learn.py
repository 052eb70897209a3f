"""Fit, score, rank: from embeddings and labels to an order of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.checkpoints import RoundResults
from ml_backend.learning.head import Head, fit_head
from ml_backend.records import ChoiceControl, QueueEntry
from ml_backend.steps.situation import Situation
from ml_backend.steps.workbench import Workbench
from strategies import STRATEGIES, Candidates, Labeled, Ranking, rank


def vectors(bench: Workbench, hashes: Sequence[str]) -> NDArray[np.float32]:
    """Return the embeddings of these images, float32 (len(hashes), D)."""
    return bench.cache().rows(hashes)


def fit(
    bench: Workbench,
    situation: Situation,
    embeddings_MD: NDArray[np.float32],
    control: ChoiceControl,
    previous: RoundResults | None,
) -> Head | None:
    """Fit the head on what is labeled; None while nothing is.

    A head of the same backbone and classes is where the search starts.
    """
    start = None
    if previous is not None and previous.classes == control.classes:
        start = previous.head if previous.backbone_key == bench.backbone().key else None
    return fit_head(
        embeddings_MD,
        situation.labels_M,
        len(control.classes),
        previous=start,
        seed=bench.plan.seed,
    )


def order_pool(
    bench: Workbench,
    situation: Situation,
    probs_NC: NDArray[np.float32] | None,
    embeddings_ND: NDArray[np.float32],
    embeddings_MD: NDArray[np.float32],
    head: Head | None,
) -> Ranking:
    """Rank the candidates by the configured query strategy, which may ask the head more.

    The same state gives the same ranking: the random numbers depend on the seed alone.
    """
    plan = bench.plan
    takes_uncertainty = "uncertainty" in STRATEGIES[plan.strategy].parameters
    parameters: dict[str, Any] = {"uncertainty": plan.uncertainty} if takes_uncertainty else {}
    return rank(
        plan.strategy,
        Candidates(
            situation.candidate_ids_N,
            probs_NC,
            embeddings_ND,
            predict=None if head is None else head.probs,
        ),
        Labeled(embeddings_MD, situation.labels_M),
        head=plan.window,
        rng=np.random.default_rng(plan.seed),
        **parameters,
    )


def queue_entries(
    bench: Workbench,
    situation: Situation,
    control: ChoiceControl,
    probs_NC: NDArray[np.float32] | None,
    ranking: Ranking,
    *,
    whole: bool,
) -> list[QueueEntry]:
    """Return the window of the queue (or the whole of it), wanted first.

    Tasks that no strategy can rank follow the ranked ones: not embedded yet, skipped, unreadable.
    """
    length = situation.pool_size if whole else min(bench.plan.window, situation.pool_size)
    rows = ranking.order[:length]
    prelabels = _prelabels(bench, control, probs_NC, rows)
    ranked = situation.candidate_ids_N[rows].tolist()
    behind = situation.behind[: length - len(ranked)]
    labels = prelabels + [(None, None)] * len(behind)
    return [
        QueueEntry(task_id, place, situation.pool_size, choice, confidence)
        for place, (task_id, (choice, confidence)) in enumerate(
            zip((*ranked, *behind), labels, strict=True)
        )
    ]


def _prelabels(
    bench: Workbench,
    control: ChoiceControl,
    probs_NC: NDArray[np.float32] | None,
    rows: NDArray[np.int64],
) -> list[tuple[str | None, float | None]]:
    if probs_NC is None or not bench.plan.prelabel:
        return [(None, None)] * len(rows)
    top = probs_NC[rows].argmax(axis=1)
    confidences = probs_NC[rows, top]
    return [
        (control.classes[class_row], float(confidence))
        for class_row, confidence in zip(top, confidences, strict=True)
    ]
