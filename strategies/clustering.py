"""Clustering, as SpaceML's Active Labeler had it: k-means, then the most unsure of each cluster.

Bigger clusters give more picks. The seed rounded each share up, and so picked too many; here the
largest remainders make it exactly the number asked for. It asked for a round's worth at a time
(`batch`), which is kept: a longer head is several rounds one after another, so that its start does
not depend on its length.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.clusters import fit_centres, nearest
from strategies.query import Picks, Query
from strategies.simple import most_unsure_first

_ITERATIONS = 25


def clustering(query: Query, *, uncertainty: str = "margin", k: int = 3, batch: int = 50) -> Picks:
    """Share each batch out among k clusters by their size; inside, the most unsure first."""
    unsure_N = query.uncertainty(uncertainty)
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    centres_KD = fit_centres(query.embeddings_ND, k, query.rng, iterations=_ITERATIONS)
    clusters_N = nearest(query.embeddings_ND, centres_KD)
    queues = _most_unsure_of_each(unsure_N, clusters_N, len(centres_KD))
    picked: list[int] = []
    while len(picked) < query.head:
        shares_K = largest_remainder(np.array([len(queue) for queue in queues]), batch)
        taken = [row for queue, n in zip(queues, shares_K, strict=True) for row in queue[:n]]
        queues = [queue[n:] for queue, n in zip(queues, shares_K, strict=True)]
        picked += sorted(taken, key=lambda row: (-unsure_N[row], row))
    return Picks(np.array(picked[: query.head], dtype=np.int64), unsure_N)


def largest_remainder(sizes_K: IntArray, n: int) -> IntArray:
    """Share `n` out in proportion to `sizes_K`: whole numbers that add up to min(n, sum sizes).

    Each gets its share rounded down; what is left goes one each to the largest remainders, ties to
    the bigger and then to the first. No share exceeds its size.
    """
    total = int(sizes_K.sum())
    n = min(n, total)
    if not n:
        return np.zeros(len(sizes_K), dtype=np.int64)
    shares_K, remainders_K = np.divmod(sizes_K * n, total)  # exact: integers throughout
    order = np.lexsort((np.arange(len(sizes_K)), -sizes_K, -remainders_K))
    shares_K[order[: n - int(shares_K.sum())]] += 1
    return shares_K


def _most_unsure_of_each(
    unsure_N: FloatArray, clusters_N: IntArray, n_clusters: int
) -> list[list[int]]:
    order = most_unsure_first(unsure_N)
    return [order[clusters_N[order] == cluster].tolist() for cluster in range(n_clusters)]
