"""k-means on embeddings, in float32 matrix products, the same result for the same seed.

Why not scikit-learn's: its threads add up partial sums in the order in which they finish, so that
two runs with one seed can differ; it warns where there are fewer distinct points than clusters.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.device import Matrix, beside, block_rows, on_host

_CACHED_ROWS = 256
_SAMPLE, _SAMPLE_PER_CENTRE = 4096, 16  # rows that centres are fitted on: the larger of both
_BLOCK_ROWS = 1024  # times 1,000 centres, that stays in the cache
CLUSTER_SIZE = 32  # tasks per cluster of a pool, on average
_PROJECTED_DIM = 64
_ITERATIONS = 3
_MOST_CLUSTERS = 1000


def cluster_pool(
    embeddings_ND: FloatArray, rng: np.random.Generator, *, n_clusters: int | None = None
) -> IntArray:
    """Return a cluster index per pool row, for `rank(..., clusters_N=...)`. Worth caching.

    n_clusters defaults to one for each 32 tasks, at most 1,000. Works in a random projection to 64
    dimensions, which keeps distances to about a tenth: enough to take turns by, and much cheaper.
    """
    n_rows, dim = embeddings_ND.shape
    k = n_clusters or min(max(n_rows // CLUSTER_SIZE, 1), _MOST_CLUSTERS)
    if dim > _PROJECTED_DIM:
        onto_DP = rng.standard_normal((dim, _PROJECTED_DIM), dtype=np.float32)
        embeddings_ND = embeddings_ND @ onto_DP
    centres_KD = fit_centres(embeddings_ND, k, rng, iterations=_ITERATIONS)
    return nearest(embeddings_ND, centres_KD)


def fit_centres(
    embeddings_ND: FloatArray, k: int, rng: np.random.Generator, *, iterations: int
) -> FloatArray:
    """Return at most k centres (fewer where there are fewer distinct points) by Lloyd's steps."""
    n_rows = len(embeddings_ND)
    enough = max(_SAMPLE, _SAMPLE_PER_CENTRE * k)
    if n_rows > enough:
        rows = np.sort(rng.choice(n_rows, size=enough, replace=False))
        embeddings_ND = embeddings_ND[rows]
    centres_KD = _plus_plus(embeddings_ND, k, rng) if k <= 64 else _drawn(embeddings_ND, k, rng)
    assigned_N = nearest(embeddings_ND, centres_KD)
    for _ in range(iterations):
        centres_KD = means(embeddings_ND, assigned_N, centres_KD)
        before_N, assigned_N = assigned_N, nearest(embeddings_ND, centres_KD)
        if np.array_equal(before_N, assigned_N):
            break
    return centres_KD


def nearest(embeddings_ND: Matrix, centres_KD: FloatArray) -> IntArray:
    """Return the index of the nearest centre of each row, in chunks. Runs where the rows are."""
    half_squares_K = 0.5 * np.einsum("kd,kd->k", centres_KD, centres_KD)
    assigned_N = np.zeros(len(embeddings_ND), dtype=np.int64)
    turned_DK, halves_K = beside(centres_KD, embeddings_ND).T, beside(half_squares_K, embeddings_ND)
    step = block_rows(embeddings_ND, _BLOCK_ROWS)
    for start in range(0, len(embeddings_ND), step):
        block = slice(start, start + step)
        closeness = embeddings_ND[block] @ turned_DK - halves_K
        assigned_N[block] = on_host(closeness.argmax(axis=1))
    return assigned_N


def means(embeddings_ND: FloatArray, assigned_N: IntArray, centres_KD: FloatArray) -> FloatArray:
    """Return the mean of the rows of each cluster; an empty cluster keeps its centre."""
    by_cluster = np.argsort(assigned_N, kind="stable")
    bounds = np.searchsorted(assigned_N[by_cluster], np.arange(len(centres_KD) + 1))
    moved_KD = centres_KD.copy()
    for cluster, (low, high) in enumerate(pairwise(bounds)):
        if high > low:  # a loop: numpy's add.reduceat takes ten times as long
            moved_KD[cluster] = embeddings_ND[by_cluster[low:high]].mean(axis=0)
    return moved_KD


def _plus_plus(embeddings_ND: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    """Draw k distinct centres, each by squared distance to those before (Arthur et al., 2007)."""
    chosen = [int(rng.integers(len(embeddings_ND)))]
    squares_N = _squares_to(embeddings_ND, chosen[0])
    while len(chosen) < k and squares_N.max() > 0:
        cumulated_N = np.cumsum(squares_N, dtype=np.float64)
        drawn = np.searchsorted(cumulated_N, rng.random() * cumulated_N[-1], side="right")
        chosen.append(min(int(drawn), len(embeddings_ND) - 1))
        squares_N = np.minimum(squares_N, _squares_to(embeddings_ND, chosen[-1]))
    return embeddings_ND[chosen].astype(np.float32)


def _squares_to(embeddings_ND: FloatArray, row: int) -> FloatArray:
    return squared_distances(embeddings_ND, embeddings_ND[row])


def squared_distances(embeddings_ND: FloatArray, point_D: FloatArray) -> FloatArray:
    """Return |x - point|^2 per row: exactly 0 where they are equal, in blocks that fit a cache."""
    squares_N = np.empty(len(embeddings_ND), dtype=embeddings_ND.dtype)
    for start in range(0, len(embeddings_ND), _CACHED_ROWS):
        block = slice(start, start + _CACHED_ROWS)
        differences = embeddings_ND[block] - point_D
        squares_N[block] = np.einsum("nd,nd->n", differences, differences)
    return squares_N


def _drawn(embeddings_ND: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    rows = rng.choice(len(embeddings_ND), size=min(k, len(embeddings_ND)), replace=False)
    return embeddings_ND[np.sort(rows)].astype(np.float32)
