"""TypiClust: the most typical task of each cluster that holds nothing labeled, the largest first.

Hacohen, Dekel, Weinshall, Active Learning on a Budget, ICML 2022. As many clusters as there are
labels and budget, at most 500; typicality is one over the mean distance to the 20 nearest
neighbours inside the cluster. For a small budget that is known: later it is worse than random.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import BoolArray, FloatArray, IntArray
from strategies.clusters import nearest
from strategies.kmeans import fit_centres
from strategies.positions import directions
from strategies.query import Picks, Query
from strategies.sampling import uniform_rows
from strategies.sets import BUDGET

MOST_CLUSTERS = 500
SMALLEST_CLUSTER = 5  # clusters of no more than this are left out, as outliers
NEIGHBOURS = 20
_SPARE = 20  # further neighbours kept, so that picked ones can be left out
_MOST_COMPARED = 2048  # members that neighbours are sought among, in a large cluster
_NO_DISTANCE = 1e-5  # keeps the typicality of copies finite
_BLOCK_ROWS = 1024


def typiclust(query: Query, *, budget: int = BUDGET) -> Picks:
    """Let clusters take turns, those with the fewest labels first; in each, the most typical."""
    pool_ND, labeled_MD = directions(query)
    unsure_N = query.uncertainty("margin")
    k = min(len(query.labeled) + budget, MOST_CLUSTERS, query.size + len(labeled_MD))
    centres_KD = fit_centres(np.concatenate([pool_ND, labeled_MD]), k, query.rng)
    cluster_N = nearest(pool_ND, centres_KD)
    labeled_K = np.bincount(nearest(labeled_MD, centres_KD), minlength=len(centres_KD))
    weights_N = np.ones(query.size) if query.weights_N is None else query.weights_N
    size_K = 1.0 * labeled_K + np.bincount(cluster_N, weights=weights_N, minlength=len(centres_KD))
    turn = [
        Cluster(pool_ND, np.flatnonzero(cluster_N == cluster), query.rng, query.weights_N)
        for cluster in cluster_turns(size_K, labeled_K)
    ]
    picked: list[int] = []
    while turn and len(picked) < query.head:
        turn = [cluster for cluster in turn if cluster.open]
        picked += [cluster.pick() for cluster in turn[: query.head - len(picked)]]
    return Picks(np.array(picked, dtype=np.int64), unsure_N)


def cluster_turns(size_K: FloatArray, labeled_K: IntArray) -> list[int]:
    """Return the clusters by rising number of labels, then by falling size, without the tiny."""
    order: list[int] = np.lexsort((-size_K, labeled_K)).tolist()
    return [cluster for cluster in order if size_K[cluster] > SMALLEST_CLUSTER] or order


class Cluster:
    """The members of one cluster that are not picked yet, and who is near to whom."""

    def __init__(
        self,
        pool_ND: FloatArray,
        rows_R: IntArray,
        rng: np.random.Generator,
        weights_N: FloatArray | None = None,
    ) -> None:
        """Take the pool's points, and which of its rows belong to the cluster."""
        self._pool_ND, self._rows_R, self._rng = pool_ND, rows_R, rng
        self._weights_R: FloatArray = np.ones(len(rows_R))
        if weights_N is not None:
            self._weights_R = weights_N[rows_R]
        self._gone_R = np.zeros(len(rows_R), dtype=bool)
        self._picked_since = _SPARE  # so that the first pick looks for neighbours
        self._near_RS: FloatArray = np.empty((0, 0))
        self._neighbour_RS: IntArray = np.empty((0, 0), dtype=np.int64)

    @property
    def open(self) -> bool:
        """Return whether a member is left to pick."""
        return not self._gone_R.all()

    def pick(self) -> int:
        """Return the pool row of the most typical member that is left, and leave it out."""
        if self._picked_since >= _SPARE:
            self._look_around()
        n = min(NEIGHBOURS, int((~self._gone_R).sum()) // 2)
        wanted_R = self._weights_R * typicality(self._near_RS, ~self._gone_R[self._neighbour_RS], n)
        wanted_R[self._gone_R] = -np.inf
        best = int(wanted_R.argmax())
        self._gone_R[best] = True
        self._picked_since += 1
        return int(self._rows_R[best])

    def _look_around(self) -> None:
        """Note each member's nearest members that are left; of many, of a sample."""
        left = np.flatnonzero(~self._gone_R)
        among = left[uniform_rows(len(left), _MOST_COMPARED, self._rng)]
        points_RD, among_AD = self._pool_ND[self._rows_R], self._pool_ND[self._rows_R[among]]
        near, neighbour = [], []
        for start in range(0, len(points_RD), _BLOCK_ROWS):
            places = np.arange(start, min(start + _BLOCK_ROWS, len(points_RD)))
            distances = euclidean(points_RD[places], among_AD)
            distances[places[:, None] == among] = np.inf  # nobody is its own neighbour
            nearest_S = _smallest(distances, NEIGHBOURS + _SPARE)
            near.append(np.take_along_axis(distances, nearest_S, axis=1))
            neighbour.append(among[nearest_S])
        self._near_RS, self._neighbour_RS = np.concatenate(near), np.concatenate(neighbour)
        self._picked_since = 0


def typicality(near_RS: FloatArray, counts_RS: BoolArray, n: int) -> FloatArray:
    """Return 1 / mean distance to the n nearest neighbours that count; rows sorted by distance."""
    counted_RS = counts_RS & (np.cumsum(counts_RS, axis=1) <= n) & np.isfinite(near_RS)
    summed_R = np.where(counted_RS, near_RS, 0.0).sum(axis=1)
    mean_R = summed_R / np.maximum(counted_RS.sum(axis=1), 1)
    return np.asarray(1.0 / (mean_R + _NO_DISTANCE))


def euclidean(rows_AD: FloatArray, rows_BD: FloatArray) -> FloatArray:
    """Return |a - b| as (A, B)."""
    squares_A = np.einsum("ad,ad->a", rows_AD, rows_AD)
    squares_B = np.einsum("bd,bd->b", rows_BD, rows_BD)
    squares_AB = squares_A[:, None] + squares_B - 2.0 * (rows_AD @ rows_BD.T)
    distances_AB: FloatArray = np.sqrt(np.maximum(squares_AB, 0.0))
    return distances_AB


def _smallest(values_AB: FloatArray, k: int) -> IntArray:
    """Return the columns of the k smallest values of each row, smallest first."""
    if values_AB.shape[1] > k:
        columns = np.argpartition(values_AB, k - 1, axis=1)[:, :k]
    else:
        columns = np.tile(np.arange(values_AB.shape[1]), (len(values_AB), 1))
    order = np.take_along_axis(values_AB, columns, axis=1).argsort(axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
