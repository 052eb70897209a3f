"""DropQuery: tasks whose predicted class does not survive dropout, one from each cluster of them.

Gupte, Aklilu, Nirschl, Yeung-Levy, Revisiting Active Learning in the Era of Vision Foundation
Models, TMLR 2024. Three predictions with three quarters of the features left out; where most of
them differ from the clean one, the task is a candidate. The candidates are clustered.
"""

from __future__ import annotations

import numpy as np

from strategies import dropout
from strategies.arrays import BoolArray, Candidates, FloatArray, IntArray
from strategies.kmeans import nearest_to_centres
from strategies.query import Picks, Query
from strategies.sets import BUDGET, in_rounds

SAMPLES, RATE = 3, 0.75
_FEWEST_PER_PICK = 25  # where fewer waver, the next most wavering and unsure are let in


def dropquery(
    query: Query, *, budget: int = BUDGET, samples: int = SAMPLES, rate: float = RATE
) -> Picks:
    """Cluster what wavers under feature dropout, and pick the task nearest to each centre."""
    unsure_N = query.uncertainty("margin")
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    changed_N = changed_guesses(query.candidates, query.rng, samples=samples, rate=rate)
    by_doubt_N = np.lexsort((-unsure_N, -changed_N))

    def choose(pool_ND: FloatArray, open_R: IntArray, n: int) -> IntArray:
        queue = by_doubt_N[np.isin(by_doubt_N, open_R)]
        wavering = int((changed_N[queue] > samples / 2).sum())
        doubted_R = np.sort(queue[: max(wavering, _FEWEST_PER_PICK * n)])
        weights_R = None if query.weights_N is None else query.weights_N[doubted_R]
        return doubted_R[
            nearest_to_centres(pool_ND[doubted_R], n, query.rng, weights_R, device=query.device)
        ]

    return in_rounds(query, budget, choose, unsure_N)


def changed_guesses(
    candidates: Candidates, rng: np.random.Generator, *, samples: int, rate: float
) -> IntArray:
    """Return per task how many of the samples guess something else than the whole model."""
    probs_NC, multi_label = candidates.probs_NC, candidates.multi_label
    assert probs_NC is not None
    guess_NG = guesses(probs_NC, multi_label)
    changed_N = np.zeros(len(candidates), dtype=np.int64)
    for dropped_NC in dropout.samples(candidates, rng, n_samples=samples, rate=rate):
        changed_N += (guesses(dropped_NC, multi_label) != guess_NG).any(axis=1)
    return changed_N


def guesses(probs_NC: FloatArray, multi_label: bool) -> IntArray | BoolArray:
    """Return the likeliest class (N, 1), or with several labels a task which it has (N, C)."""
    return probs_NC >= 0.5 if multi_label else probs_NC.argmax(axis=1)[:, None]
