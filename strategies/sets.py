"""Strategies that choose a set for a budget: how their sets become an order.

A set is right for the budget that it was made for, and says nothing of what should come first. So
its picks are herded: each next one covers most of the pool beside what is labeled or came before,
which makes every prefix a good batch. Behind the set for the budget come further sets, each for
twice as many, as if nothing had been learned in between; so a longer head begins like a short one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.geometry import gaussian
from strategies.herding import MAX_LANDMARKS, coverage, kernel_width, lazy_greedy
from strategies.positions import directions
from strategies.query import Picks, Query
from strategies.sampling import uniform_rows
from strategies.uncertainty import CERTAIN

BUDGET = 100  # labels that will be given before the strategy is asked again
Choose = Callable[[FloatArray, IntArray, int], IntArray]


def in_rounds(query: Query, budget: int, choose: Choose, unsure_N: FloatArray | None) -> Picks:
    """Return the sets for `budget`, then twice as many, and so on, each in herding order.

    choose(pool_ND, open_R, n) returns at most n of the sorted pool rows `open_R`, at least one.
    """
    pool_ND, labeled_MD = directions(query)
    order = _Herding(query, pool_ND, labeled_MD, unsure_N)
    open_N = np.ones(query.size, dtype=bool)
    picked: list[int] = []
    size = budget
    while len(picked) < query.head:
        open_R = np.flatnonzero(open_N)
        chosen_K = open_R if size >= len(open_R) else choose(pool_ND, open_R, size)
        open_N[chosen_K] = False
        picked += order(chosen_K).tolist()
        size *= 2
    return Picks(np.array(picked[: query.head], dtype=np.int64), unsure_N)


class _Herding:
    """Puts sets into the order in which they cover the pool, one set after another."""

    def __init__(
        self,
        query: Query,
        pool_ND: FloatArray,
        labeled_MD: FloatArray,
        unsure_N: FloatArray | None,
    ) -> None:
        landmarks_L = uniform_rows(query.size, MAX_LANDMARKS, query.rng)
        self._pool_ND, self._landmarks_LD = pool_ND, pool_ND[landmarks_L]
        self._sigma = kernel_width(labeled_MD)
        self._covered_L = coverage(self._landmarks_LD, labeled_MD, self._sigma)
        weights_N = query.weights_N if unsure_N is None else np.maximum(unsure_N, CERTAIN)
        self._weights_L: FloatArray = np.ones(len(landmarks_L), dtype=np.float32)
        if weights_N is not None:
            self._weights_L = weights_N[landmarks_L].astype(np.float32)

    def __call__(self, chosen_K: IntArray) -> IntArray:
        """Return the chosen rows in order, and count them as covered; the useless come last."""
        alike_KL = gaussian(self._pool_ND[chosen_K], self._landmarks_LD, self._sigma)
        order, _ = lazy_greedy(alike_KL, self._weights_L, self._covered_L, len(chosen_K))
        self._covered_L = np.maximum(self._covered_L, alike_KL.max(axis=0, initial=0.0))
        useless = np.setdiff1d(np.arange(len(chosen_K)), order)
        in_order_K: IntArray = chosen_K[np.concatenate([order, useless])]
        return in_order_K
