"""Behind the head: a total order that stays good wherever the annotators stop.

Body: cluster by cluster in turn, in each the most unsure first, clusters that hold labeled or
picked tasks later. Tail: near-duplicates of those, and what the model is sure of. Nothing is ever
dropped. O(N log N) with clusters given.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import BoolArray, FloatArray, IntArray
from strategies.clusters import CLUSTER_SIZE, cluster_pool, means, nearest
from strategies.geometry import Directions
from strategies.query import Picks, Query
from strategies.uncertainty import CERTAIN

PICKED, IN_TURN, CERTAIN_TAIL, REPEATS = range(4)  # the parts of an order
NEAR_DUPLICATE = 0.98  # cosine of two directions above which a task repeats another
_CENTRE_SAMPLE = 64  # rows whose mean stands for their cluster's centre
_MOST_UNCACHED_CLUSTERS = 256  # a fifth of the time of a thousand, when made for one ranking


def complete(
    query: Query,
    picks: Picks,
    *,
    rng: np.random.Generator,
    clusters_N: IntArray | None,
    near_duplicate: float,
) -> tuple[IntArray, IntArray]:
    """Return all pool rows, the picks and behind them everything else, and the part of each row."""
    parts_N = np.full(query.size, IN_TURN, dtype=np.int64)
    parts_N[picks.rows_K] = PICKED
    rest_R = np.setdiff1d(np.arange(query.size), picks.rows_K, assume_unique=True)
    unsure_R = None if picks.uncertainty_N is None else picks.uncertainty_N[rest_R]
    tie_R = rng.permutation(len(rest_R)) if unsure_R is None else np.arange(len(rest_R))
    falling_R = np.zeros(len(rest_R)) if unsure_R is None else -unsure_R
    if query.candidates.embeddings_ND is None or not rest_R.size:
        behind = np.lexsort((tie_R, falling_R))
        return np.concatenate([picks.rows_K, rest_R[behind]]), parts_N
    if clusters_N is None:
        n_clusters = min(_MOST_UNCACHED_CLUSTERS, max(query.size // CLUSTER_SIZE, 1))
        clusters_N = cluster_pool(query.embeddings_ND, rng, n_clusters=n_clusters)
    turn_R, repeats_R = _turns_and_repeats(
        query, picks.rows_K, rest_R, np.lexsort((tie_R, falling_R)), clusters_N, near_duplicate
    )
    certain_R = np.zeros(len(rest_R), bool) if unsure_R is None else unsure_R < CERTAIN
    part_R = np.where(repeats_R, REPEATS, np.where(certain_R, CERTAIN_TAIL, IN_TURN))
    parts_N[rest_R] = part_R
    behind = np.lexsort((tie_R, falling_R, turn_R, part_R))
    return np.concatenate([picks.rows_K, rest_R[behind]]), parts_N


def _turns_and_repeats(
    query: Query,
    picked_K: IntArray,
    rest_R: IntArray,
    by_want_R: IntArray,
    clusters_N: IntArray,
    near_duplicate: float,
) -> tuple[IntArray, BoolArray]:
    """Return per remaining row its turn within its cluster, and whether it repeats another."""
    names, dense_N = np.unique(clusters_N, return_inverse=True)
    labeled_cluster_M = _clusters_of_labeled(query, dense_N, len(names))
    taken_cluster = np.concatenate([dense_N[picked_K], labeled_cluster_M])
    taken_per_cluster = np.bincount(taken_cluster, minlength=len(names))
    turn_R = taken_per_cluster[dense_N[rest_R]] + turns(dense_N[rest_R], by_want_R)
    taken_D = np.concatenate([query.embeddings_ND[picked_K], _labeled_like_pool(query)])
    repeats_R = _repeats(query, rest_R, dense_N[rest_R], taken_D, taken_cluster, near_duplicate)
    return turn_R, repeats_R


def turns(clusters_R: IntArray, by_want_R: IntArray) -> IntArray:
    """Return each row's place among its cluster's, 0 first, along the order `by_want_R`."""
    grouped = by_want_R[np.argsort(clusters_R[by_want_R], kind="stable")]
    _, starts, counts = np.unique(clusters_R[grouped], return_index=True, return_counts=True)
    turn_R = np.empty(len(clusters_R), dtype=np.int64)
    turn_R[grouped] = np.arange(len(clusters_R)) - np.repeat(starts, counts)
    return turn_R


def _labeled_like_pool(query: Query) -> FloatArray:
    empty = query.embeddings_ND[:0]
    return query.labeled.embeddings_MD if len(query.labeled) else empty


def _clusters_of_labeled(query: Query, dense_N: IntArray, n_clusters: int) -> IntArray:
    if not len(query.labeled):
        return np.empty(0, dtype=np.int64)
    zeros_KD = np.zeros((n_clusters, query.embeddings_ND.shape[1]), dtype=np.float32)
    some = _some_of_each(dense_N)
    centres_KD = means(query.embeddings_ND[some], dense_N[some], zeros_KD)
    return nearest(query.labeled.embeddings_MD, centres_KD)


def _some_of_each(clusters_N: IntArray) -> IntArray:
    """Return sorted rows: each cluster's first few, enough to know where it lies."""
    place_N = turns(clusters_N, np.arange(len(clusters_N)))
    return np.flatnonzero(place_N < _CENTRE_SAMPLE)


def _repeats(
    query: Query,
    rest_R: IntArray,
    rest_cluster_R: IntArray,
    taken_TD: FloatArray,
    taken_cluster_T: IntArray,
    near_duplicate: float,
) -> BoolArray:
    """Return which remaining rows nearly equal a labeled or picked one of their own cluster."""
    directions = Directions.of_pool(query.embeddings_ND, query.labeled.embeddings_MD)
    taken_TD = directions.of(taken_TD)
    repeats_R = np.zeros(len(rest_R), dtype=bool)
    by_cluster = np.argsort(rest_cluster_R, kind="stable")
    sorted_clusters = rest_cluster_R[by_cluster]
    for cluster in np.unique(taken_cluster_T):
        low, high = np.searchsorted(sorted_clusters, [cluster, cluster + 1])
        members = by_cluster[low:high]
        if members.size:
            rows_D = query.embeddings_ND[rest_R[members]]
            alike = directions.cosines(rows_D, taken_TD[taken_cluster_T == cluster])
            repeats_R[members] = alike.max(axis=1) > near_duplicate
    return repeats_R


def priorities(n: int) -> FloatArray:
    """Return 1 for the first place down to 0 for the last, strictly decreasing."""
    return np.linspace(1.0, 0.0, n) if n > 1 else np.ones(n)
