"""What a strategy function is given, and what it gives back.

A strategy looks at a Query (rows sorted by task id, so that the caller's order cannot matter) and
answers with Picks: the front of the queue. What comes behind is `order`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.arrays import Candidates, FloatArray, IntArray, Labeled


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One request for the `head` most wanted of the pool, 1 <= head <= N."""

    candidates: Candidates
    labeled: Labeled
    head: int
    rng: np.random.Generator

    @property
    def size(self) -> int:
        """Return N."""
        return len(self.candidates)

    @property
    def embeddings_ND(self) -> FloatArray:  # noqa: N802 - axes in names
        """Return the pool's embeddings; the table has seen to it that they are there."""
        assert self.candidates.embeddings_ND is not None
        return self.candidates.embeddings_ND


@dataclass(frozen=True, slots=True, eq=False)
class Picks:
    """A strategy's answer: K distinct pool rows, most wanted first.

    K is at least `head` except where nothing is left to gain (everything else repeats what was
    picked), and may be all of N where the strategy orders the whole pool by itself.
    uncertainty_N orders what follows; None where nothing is known of it.
    coverage_K: share of what is still uncovered that each pick covers, in [0, 1].
    """

    rows_K: IntArray
    uncertainty_N: FloatArray | None = None
    coverage_K: FloatArray | None = None
