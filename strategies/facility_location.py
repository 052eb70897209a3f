"""Facility location: every task should have a labeled or picked one that is like it.

    next = argmax_x  sum_n [ s(n, x) - max_{labeled or picked} s(n, .) ]_+ ,  s = (1 + cosine) / 2

Which is k-medoids with squared distances, one medoid after another, by lazy greedy (Minoux, 1978).
MaxHerding is the same with a kernel that sees only what is near; this one wants no blind spot.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray
from strategies.geometry import Directions
from strategies.herding import MAX_CANDIDATES, MAX_LANDMARKS, lazy_greedy, shares
from strategies.query import Picks, Query
from strategies.sampling import candidate_rows, uniform_rows

_BLOCK_ROWS = 1024


def facility_location(
    query: Query,
    *,
    max_candidates: int = MAX_CANDIDATES,
    max_landmarks: int = MAX_LANDMARKS,
) -> Picks:
    """Pick what is like the most tasks that nothing labeled or picked is like."""
    landmarks_L = uniform_rows(query.size, max_landmarks, query.rng)
    rows_K = candidate_rows(query, None, max_candidates)
    sample_LD, labeled_MD = query.embeddings_ND[landmarks_L], query.labeled.embeddings_MD
    to_directions = Directions.around(sample_LD, labeled_MD, query.size)
    landmarks_LD = to_directions.of(sample_LD)
    covered_L = np.zeros(len(landmarks_L), dtype=np.float32)
    if len(query.labeled):
        for start in range(0, len(labeled_MD), _BLOCK_ROWS):
            block_MD = to_directions.of(labeled_MD[start : start + _BLOCK_ROWS])
            np.maximum(covered_L, likeness(block_MD, landmarks_LD).max(axis=0), out=covered_L)
    like_KL = np.empty((len(rows_K), len(landmarks_L)), dtype=np.float32)
    for start in range(0, len(rows_K), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        block_KD = to_directions.of(query.embeddings_ND[rows_K[block]])
        like_KL[block] = likeness(block_KD, landmarks_LD)
    weights_L: FloatArray = np.ones(len(landmarks_L), dtype=np.float32)
    if query.weights_N is not None:
        weights_L = query.weights_N[landmarks_L].astype(np.float32)
    picks, gains = lazy_greedy(like_KL, weights_L, covered_L, query.head)
    return Picks(rows_K[picks], query.uncertainty("margin"), shares(gains, weights_L, covered_L))


def likeness(rows_AD: FloatArray, rows_BD: FloatArray) -> FloatArray:
    """Return (1 + cosine) / 2 of unit rows as (A, B), in [0, 1]."""
    like_AB: FloatArray = rows_AD @ rows_BD.T
    like_AB += 1.0
    like_AB *= 0.5
    return np.clip(like_AB, 0.0, 1.0, out=like_AB)
