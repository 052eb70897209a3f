"""Which part of a large pool a costly strategy looks at: some of the most unsure, and any others.

Never only the most unsure: that loses, since they repeat one another.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.query import Query

CANDIDATES_PER_PICK = 10  # a head must be able to choose


def uniform_rows(n_rows: int, at_most: int, rng: np.random.Generator) -> IntArray:
    """Return sorted rows, all of them or a uniform sample."""
    if n_rows <= at_most:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, size=at_most, replace=False))


def candidate_rows(query: Query, unsure_N: FloatArray | None, max_candidates: int) -> IntArray:
    """Return sorted pool rows: all, or half the most unsure and half at random.

    At least ten for each pick of the head, even if that is more than `max_candidates`.
    """
    at_most = max(max_candidates, CANDIDATES_PER_PICK * query.head)
    if query.size <= at_most or unsure_N is None:
        return uniform_rows(query.size, at_most, query.rng)
    unsure_rows = np.argpartition(-unsure_N, at_most // 2)[: at_most // 2]
    others = np.setdiff1d(np.arange(query.size), unsure_rows, assume_unique=True)
    drawn = query.rng.choice(others, size=at_most - len(unsure_rows), replace=False)
    return np.sort(np.concatenate([unsure_rows, drawn]))
