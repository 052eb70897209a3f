"""Maximal marginal relevance: unsure, and unlike what is labeled or picked.

    next = argmax_x  relevance * u(x) - (1 - relevance) * max_s similarity(x, s)

Carbonell and Goldstein, SIGIR 1998. The similarity is (1 + cosine) / 2, in [0, 1] like u.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray
from strategies.closeness import Rows, closest_to, falling_greedy
from strategies.device import placed
from strategies.positions import directions
from strategies.query import Picks, Query


def mmr(query: Query, *, uncertainty: str = "margin", relevance: float = 0.5) -> Picks:
    """Weigh uncertainty against likeness to what is labeled or picked."""
    unsure_N = query.uncertainty(uncertainty)
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    pool_ND, labeled_MD = directions(query)
    pool_ND, labeled_MD = placed(pool_ND, query.device), placed(labeled_MD, query.device)
    relevant_N = relevance * unsure_N

    def marginal(rows: Rows, closest: FloatArray) -> FloatArray:
        similar = (1.0 + np.maximum(closest, -1.0)) / 2.0  # none taken: similar to nothing
        wanted: FloatArray = relevant_N[rows] - (1.0 - relevance) * similar
        return wanted

    # Cosines are products here: nothing is to be taken off.
    closest_N = closest_to(pool_ND, labeled_MD, np.zeros(len(labeled_MD), np.float32))
    no_halves_N = np.zeros(query.size, dtype=np.float32)
    picks = falling_greedy(pool_ND, no_halves_N, closest_N, marginal, query.head)
    return Picks(picks, unsure_N)
