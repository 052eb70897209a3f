"""Iterative proximity, as SpaceML's Active Labeler had it.

Picks in mini-batches. After the first, every task's Euclidean distance to the centroid of what
this query has picked so far, min-max scaled over the whole pool to [-weight, weight], is added to
its z-scored uncertainty: farther means sooner. It favours outliers and cannot see duplicates; kept
for comparison, since it does worse than random on every set that we measured.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.clusters import squared_distances
from strategies.query import Picks, Query
from strategies.simple import most_unsure_first


def iterative_proximity(
    query: Query, *, uncertainty: str = "margin", weight: float = 0.3, mini_batch: int = 10
) -> Picks:
    """Order by uncertainty, pushed away from the centroid of the picks so far."""
    unsure_N = query.uncertainty(uncertainty)
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    z_N = z_scores(unsure_N)
    wanted_N = z_N.copy()
    picked: IntArray = np.empty(0, dtype=np.int64)
    while len(picked) < query.head:
        if picked.size:
            centroid_D = query.embeddings_ND[picked].mean(axis=0)
            squares_N = squared_distances(query.embeddings_ND, centroid_D)
            wanted_N = z_N + spread(np.sqrt(squares_N), weight)
            wanted_N[picked] = -np.inf
        n = min(mini_batch, query.head - len(picked))
        picked = np.concatenate([picked, most_unsure_first(wanted_N)[:n]])
    return Picks(picked, unsure_N)


def z_scores(values_N: FloatArray) -> FloatArray:
    """Return (x - mean) / standard deviation; zeros where there is no spread."""
    centred_N = values_N - values_N.mean()
    deviation = float(values_N.std())
    return centred_N / deviation if deviation > 0 else np.zeros_like(centred_N)


def spread(values_N: FloatArray, weight: float) -> FloatArray:
    """Scale to [-weight, weight] by the extremes; zeros where all are equal."""
    lowest, highest = float(values_N.min()), float(values_N.max())
    if highest <= lowest:
        return np.zeros_like(values_N)
    return (values_N - lowest) * (2.0 * weight / (highest - lowest)) - weight
