"""What a strategy function is given, and what it gives back.

A strategy looks at a Query (rows sorted by task id, so that the caller's order cannot matter) and
answers with Picks: the front of the queue. What comes behind is `order`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies import uncertainty as uncertainties
from strategies.arrays import Candidates, FloatArray, IntArray, Labeled
from strategies.geometry import Directions


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """One request for the `head` most wanted of the pool, 1 <= head <= N.

    weights_N: how much each task counts, in (0, 1]; None for all the same. clusters_N: as the
    caller gave them, or None. device: of torch, for the large products; None: numpy.
    """

    candidates: Candidates
    labeled: Labeled
    head: int
    rng: np.random.Generator
    weights_N: FloatArray | None = None
    clusters_N: IntArray | None = None
    device: str | None = None

    @property
    def size(self) -> int:
        """Return N."""
        return len(self.candidates)

    @property
    def embeddings_ND(self) -> FloatArray:  # noqa: N802 - axes in names
        """Return the pool's embeddings; the table has seen to it that they are there."""
        assert self.candidates.embeddings_ND is not None
        return self.candidates.embeddings_ND

    def uncertainty(self, name: str) -> FloatArray | None:
        """Return the uncertainty called `name` times the weight of each task, in [0, 1].

        None where it needs a model and has none. Raises UnknownStrategy.
        """
        unsure_N = uncertainties.score(name, self.candidates, self.labeled, self.rng)
        return None if unsure_N is None else self.weighted(unsure_N)

    def weighted(self, values_N: FloatArray) -> FloatArray:
        """Return `values_N` times the weight of each task."""
        return values_N if self.weights_N is None else values_N * self.weights_N


@dataclass(frozen=True, slots=True, eq=False)
class Goal:
    """The coverage that a greedy head went for: enough to pick anew when tasks become covered.

    rows_K: pool rows that could be picked, sorted. similarity_KL: of each to each landmark, in
    [0, 1]. weights_L: what covering a landmark is worth. covered_L: how far each was covered
    before the first pick. bounds_K: what each could have gained then, and can never exceed.
    landmarks_LD, directions, sigma: how the similarity of any other task is computed.
    """

    rows_K: IntArray
    similarity_KL: FloatArray
    weights_L: FloatArray
    covered_L: FloatArray
    bounds_K: FloatArray
    landmarks_LD: FloatArray
    directions: Directions
    sigma: float


@dataclass(frozen=True, slots=True, eq=False)
class Picks:
    """A strategy's answer: K distinct pool rows, most wanted first.

    K is at least `head` except where nothing is left to gain (everything else repeats what was
    picked), and may be all of N where the strategy orders the whole pool by itself.
    uncertainty_N orders what follows; None where nothing is known of it.
    coverage_K: share of what is still uncovered that each pick covers, in [0, 1].
    goal: of a greedy coverage, so that the ranking can be repaired; None for other strategies.
    """

    rows_K: IntArray
    uncertainty_N: FloatArray | None = None
    coverage_K: FloatArray | None = None
    goal: Goal | None = None
