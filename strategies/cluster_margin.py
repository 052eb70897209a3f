"""Cluster-Margin: the smallest margins, one cluster after another, the smallest clusters first.

Citovsky et al., Batch Active Learning at Scale, NeurIPS 2021. Ten tasks of the smallest margin for
each pick; their clusters take turns by rising size, a task at random in each. k-means clusters of
the whole pool stand in for the paper's average linkage, whose cost is quadratic. Made for batches
of ten thousand and more; with small ones it goes to outliers.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import IntArray
from strategies.clusters import cluster_pool
from strategies.order import turns
from strategies.query import Picks, Query
from strategies.sets import BUDGET
from strategies.simple import most_unsure_first

PREFILTER = 10


def cluster_margin(query: Query, *, budget: int = BUDGET, prefilter: int = PREFILTER) -> Picks:
    """Let the clusters of the smallest margins take turns.

    A head longer than `budget` is further rounds, each of twice as many, on what is left.
    """
    unsure_N = query.uncertainty("margin")
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    clusters_N = query.clusters_N
    if clusters_N is None:
        clusters_N = cluster_pool(query.embeddings_ND, query.rng)
    queue = most_unsure_first(unsure_N)
    picked: list[int] = []
    size = budget
    while len(picked) < query.head:
        closest = query.rng.permutation(np.sort(queue[: prefilter * size]))
        chosen = closest[round_robin(clusters_N[closest])][:size]
        queue = queue[np.isin(queue, chosen, invert=True)]
        picked += chosen.tolist()
        size *= 2
    return Picks(np.array(picked[: query.head], dtype=np.int64), unsure_N)


def round_robin(clusters_R: IntArray) -> IntArray:
    """Return places so that clusters take turns, the smallest first; inside, in the order given."""
    _, own_R, sizes = np.unique(clusters_R, return_inverse=True, return_counts=True)
    turn_R = turns(clusters_R, np.arange(len(clusters_R)))
    places: IntArray = np.lexsort((own_R, sizes[own_R], turn_R))
    return places
