"""k-means picks: the task nearest to each centre, of the pool or of its unsure part.

`kmeans`: Pourahmadi et al., 2021, and the usual first batch. `weighted_kmeans`: Zhdanov, 2019: the
most unsure ten for each pick, clustered with their uncertainty as weight.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.clusters import nearest
from strategies.device import placed
from strategies.query import Picks, Query
from strategies.seeding import plus_plus, vectors
from strategies.sets import BUDGET, in_rounds
from strategies.simple import most_unsure_first
from strategies.uncertainty import CERTAIN

PREFILTER = 10
_ITERATIONS = 10
_SAMPLE, _SAMPLE_PER_CENTRE = 8192, 16  # rows that centres are fitted on: the larger of both


def kmeans(query: Query, *, budget: int = BUDGET) -> Picks:
    """Pick the task nearest to each of `budget` centres; a longer head is further rounds."""

    def choose(pool_ND: FloatArray, open_R: IntArray, n: int) -> IntArray:
        weights_R = None if query.weights_N is None else query.weights_N[open_R]
        return open_R[
            nearest_to_centres(pool_ND[open_R], n, query.rng, weights_R, device=query.device)
        ]

    return in_rounds(query, budget, choose, query.uncertainty("margin"))


def weighted_kmeans(
    query: Query,
    *,
    uncertainty: str = "margin",
    budget: int = BUDGET,
    prefilter: int = PREFILTER,
) -> Picks:
    """Cluster the most unsure, `prefilter` for each pick, weighted by uncertainty."""
    unsure_N = query.uncertainty(uncertainty)
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    weights_N = np.maximum(unsure_N, CERTAIN)

    def choose(pool_ND: FloatArray, open_R: IntArray, n: int) -> IntArray:
        unsure_R = open_R[most_unsure_first(unsure_N[open_R])[: prefilter * n]]
        unsure_R = np.sort(unsure_R)
        weights_R = weights_N[unsure_R]
        return unsure_R[
            nearest_to_centres(pool_ND[unsure_R], n, query.rng, weights_R, device=query.device)
        ]

    return in_rounds(query, budget, choose, unsure_N)


def nearest_to_centres(
    points_ND: FloatArray,
    k: int,
    rng: np.random.Generator,
    weights_N: FloatArray | None = None,
    *,
    device: str | None = None,
) -> IntArray:
    """Return the row nearest to each of at most k centres, one for each cluster, sorted."""
    centres_KD = fit_centres(points_ND, k, rng, weights_N, device=device)
    assigned_N = nearest(placed(points_ND, device), centres_KD)
    squares_N = _squares_to_own(points_ND, centres_KD, assigned_N)
    by_cluster = np.lexsort((squares_N, assigned_N))
    _, first = np.unique(assigned_N[by_cluster], return_index=True)
    return np.sort(by_cluster[first])


def fit_centres(
    points_ND: FloatArray,
    k: int,
    rng: np.random.Generator,
    weights_N: FloatArray | None = None,
    *,
    device: str | None = None,
) -> FloatArray:
    """Return at most k centres by weighted Lloyd steps from a k-means++ start.

    Fewer where there are fewer distinct points. A large pool is seen through a uniform sample.
    """
    enough = max(_SAMPLE, _SAMPLE_PER_CENTRE * k)
    if len(points_ND) > enough:
        rows = np.sort(rng.choice(len(points_ND), size=enough, replace=False))
        points_ND, weights_N = points_ND[rows], None if weights_N is None else weights_N[rows]
    weights_N = np.ones(len(points_ND)) if weights_N is None else weights_N
    seeds_K = plus_plus(vectors(points_ND), k, rng, weights_N)
    centres_KD = points_ND[seeds_K] if seeds_K.size else points_ND[:1]
    there_ND = placed(points_ND, device)
    assigned_N = nearest(there_ND, centres_KD)
    for _ in range(_ITERATIONS):
        centres_KD = weighted_means(points_ND, assigned_N, weights_N, centres_KD)
        before_N, assigned_N = assigned_N, nearest(there_ND, centres_KD)
        if np.array_equal(before_N, assigned_N):
            break
    return centres_KD


def weighted_means(
    points_ND: FloatArray, assigned_N: IntArray, weights_N: FloatArray, centres_KD: FloatArray
) -> FloatArray:
    """Return the weighted mean of each cluster; an empty one keeps its centre."""
    by_cluster = np.argsort(assigned_N, kind="stable")
    bounds = np.searchsorted(assigned_N[by_cluster], np.arange(len(centres_KD) + 1))
    moved_KD = centres_KD.copy()
    for cluster in np.unique(assigned_N):
        rows = by_cluster[bounds[cluster] : bounds[cluster + 1]]
        moved_KD[cluster] = weights_N[rows] @ points_ND[rows] / weights_N[rows].sum()
    return moved_KD


def _squares_to_own(
    points_ND: FloatArray, centres_KD: FloatArray, assigned_N: IntArray
) -> FloatArray:
    squares_N = np.empty(len(points_ND), dtype=np.float32)
    for start in range(0, len(points_ND), _SAMPLE):
        block = slice(start, start + _SAMPLE)
        apart = points_ND[block] - centres_KD[assigned_N[block]]
        squares_N[block] = np.einsum("nd,nd->n", apart, apart)
    return squares_N
