"""Uncertainty Herding and MaxHerding: cover the pool, and most of all where the model is unsure.

    next = argmax_x  sum_n  w_n [ k(x_n, x) - max_{s labeled or picked} k(x_n, s) ]_+

w_n is the uncertainty of pool row n (equal weights are MaxHerding), k a Gaussian kernel on unit
directions. Greedy, so every prefix is itself the batch of that size; lazy, which changes no pick.

Bae, Noh, Sutherland: Generalized Coverage for More Robust Low-Budget Active Learning, ECCV 2024.
Bae, Oliveira, Sutherland: Uncertainty Herding, ICLR 2025.

What is ours: the sum runs over a uniform sample of the pool (landmarks), the argmax over a sample
of it, half at random and half the most unsure (never only the unsure: that loses), and the kernel's
width is a clipped low quantile of the labeled distances where the paper takes their minimum, which
one duplicate drives to zero.
"""

from __future__ import annotations

import heapq

import numpy as np

from strategies import uncertainty as uncertainties
from strategies.arrays import FloatArray, IntArray
from strategies.device import Matrix, block_rows, on_host, placed
from strategies.geometry import Directions, distance_quantile, gaussian
from strategies.query import Goal, Picks, Query
from strategies.sampling import candidate_rows, uniform_rows

MAX_CANDIDATES = 4096
MAX_LANDMARKS = 2048
SIGMA_WIDEST, SIGMA_NARROWEST = 1.0, 0.5  # narrower cost 1.3 points of accuracy
_SIGMA_QUANTILE = 0.01
_SIGMA_SAMPLE = 1024  # labeled rows whose pairs are looked at
_BLOCK_ROWS = 1024  # rows of the kernel matrix worked on at once
_STALE_SLACK = 1e-5  # first gains are summed in another order; a bound must not be below the truth
_NOTHING = 1e-6  # a gain below this share of the whole is rounding


def uherding(
    query: Query,
    *,
    uncertainty: str = "margin",
    sigma: float | None = None,
    centred: bool = True,
    max_candidates: int = MAX_CANDIDATES,
    max_landmarks: int = MAX_LANDMARKS,
) -> Picks:
    """Cover the pool, weighted by uncertainty. Without a model it is MaxHerding."""
    unsure_N = query.uncertainty(uncertainty)
    return _herd(query, unsure_N, sigma, centred, max_candidates, max_landmarks)


def maxherding(
    query: Query,
    *,
    sigma: float | None = None,
    centred: bool = True,
    max_candidates: int = MAX_CANDIDATES,
    max_landmarks: int = MAX_LANDMARKS,
) -> Picks:
    """Cover the pool, whatever the model thinks of it."""
    return _herd(query, None, sigma, centred, max_candidates, max_landmarks)


def _herd(
    query: Query,
    unsure_N: FloatArray | None,
    sigma: float | None,
    centred: bool,
    max_candidates: int,
    max_landmarks: int,
) -> Picks:
    landmark_rows_L = uniform_rows(query.size, max_landmarks, query.rng)
    rows_K = candidate_rows(query, unsure_N, max_candidates)
    weights_L = _weights(query, unsure_N, landmark_rows_L)
    goal = _goal(query, rows_K, landmark_rows_L, weights_L, sigma, centred)
    picks_H, gains_H = lazy_greedy(
        goal.similarity_KL, weights_L, goal.covered_L, query.head, bounds_K=goal.bounds_K
    )
    shares_H = shares(gains_H, weights_L, goal.covered_L)
    return Picks(rows_K[picks_H], unsure_N, shares_H, goal)


def _goal(
    query: Query,
    rows_K: IntArray,
    landmark_rows_L: IntArray,
    weights_L: FloatArray,
    sigma: float | None,
    centred: bool,
) -> Goal:
    sample_LD, labeled_MD = query.embeddings_ND[landmark_rows_L], query.labeled.embeddings_MD
    origin = Directions.around if centred else Directions.raw
    directions = origin(sample_LD, labeled_MD, query.size)
    landmarks_LD = directions.of(sample_LD)
    taken_MD = directions.of(labeled_MD) if len(query.labeled) else landmarks_LD[:0]
    width = kernel_width(taken_MD) if sigma is None else sigma
    covered_L = coverage(landmarks_LD, taken_MD, width)
    rows_KD = directions.of(query.embeddings_ND[rows_K])
    similarity_KL = _kernel_matrix(
        placed(rows_KD, query.device), placed(landmarks_LD, query.device), width
    )
    bounds_K = _first_gains(similarity_KL, weights_L, covered_L) * (1.0 + _STALE_SLACK)
    return Goal(
        rows_K, similarity_KL, weights_L, covered_L, bounds_K, landmarks_LD, directions, width
    )


def kernel_width(labeled_MD: FloatArray) -> float:
    """Return sigma: 1 with fewer than two labels, then what separates the labeled, clipped."""
    if len(labeled_MD) < 2:
        return SIGMA_WIDEST
    step = -(-len(labeled_MD) // _SIGMA_SAMPLE)
    quantile = distance_quantile(labeled_MD[::step], _SIGMA_QUANTILE)
    return float(np.clip(quantile, SIGMA_NARROWEST, SIGMA_WIDEST))


def coverage(landmarks_LD: FloatArray, taken_MD: FloatArray, sigma: float) -> FloatArray:
    """Return per landmark how alike the most alike of `taken` is, in [0, 1]; 0 with none."""
    covered_L = np.zeros(len(landmarks_LD), dtype=np.float32)
    for start in range(0, len(taken_MD), _BLOCK_ROWS):
        alike_ML = gaussian(taken_MD[start : start + _BLOCK_ROWS], landmarks_LD, sigma)
        np.maximum(covered_L, alike_ML.max(axis=0), out=covered_L)
    return covered_L


def lazy_greedy(
    similarity_KL: FloatArray,
    weights_L: FloatArray,
    covered_L: FloatArray,
    n: int,
    *,
    bounds_K: FloatArray | None = None,
) -> tuple[IntArray, FloatArray]:
    """Pick up to `n` candidates, each with the largest gain sum_l w_l [s_kl - covered_l]_+.

    bounds_K: what each can gain at most, where that is known; a bound <= 0 is never picked.
    Returns candidate indices in order of picking and their gains. Ties go to the lower index. Ends
    early once nothing is gained any more. A gain only ever shrinks, so a gain computed earlier is
    an upper bound, and only the few that could still win are computed anew (Minoux, 1978): the
    picks are those of the plain greedy algorithm.
    """
    covered_L = covered_L.copy()
    least = _NOTHING * float(weights_L.sum())
    if bounds_K is None:
        bounds_K = _first_gains(similarity_KL, weights_L, covered_L) * (1.0 + _STALE_SLACK)
    heap = [(-bound, k, -1) for k, bound in enumerate(bounds_K.tolist())]
    heapq.heapify(heap)
    picks: list[int] = []
    gains: list[float] = []
    while heap and len(picks) < n:
        bound, k, fresh_at = heapq.heappop(heap)
        if -bound <= least:
            break
        if fresh_at == len(picks):
            picks.append(k)
            gains.append(-bound)
            np.maximum(covered_L, similarity_KL[k], out=covered_L)
            continue
        heapq.heappush(heap, (-gain(similarity_KL[k], weights_L, covered_L), k, len(picks)))
    return np.array(picks, dtype=np.int64), np.array(gains)


def gain(similarity_L: FloatArray, weights_L: FloatArray, covered_L: FloatArray) -> float:
    """Return what one candidate adds to the weighted coverage."""
    return float(np.maximum(similarity_L - covered_L, 0.0) @ weights_L)


def _first_gains(
    similarity_KL: FloatArray, weights_L: FloatArray, covered_L: FloatArray
) -> FloatArray:
    gains_K = np.empty(len(similarity_KL), dtype=np.float32)
    for start in range(0, len(similarity_KL), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        beyond = similarity_KL[block] - covered_L
        gains_K[block] = np.maximum(beyond, 0.0, out=beyond) @ weights_L
    return gains_K


def _kernel_matrix(rows_KD: Matrix, landmarks_LD: Matrix, sigma: float) -> FloatArray:
    similarity_KL = np.empty((len(rows_KD), len(landmarks_LD)), dtype=np.float32)
    step = block_rows(rows_KD, _BLOCK_ROWS)
    for start in range(0, len(rows_KD), step):
        block = slice(start, start + step)
        similarity_KL[block] = on_host(gaussian(rows_KD[block], landmarks_LD, sigma))
    return similarity_KL


def _weights(query: Query, unsure_N: FloatArray | None, landmarks_L: IntArray) -> FloatArray:
    if unsure_N is None:
        unsure_N = np.ones(query.size) if query.weights_N is None else query.weights_N
    floored_L = np.maximum(unsure_N[landmarks_L], uncertainties.CERTAIN)
    return floored_L.astype(np.float32)


def shares(gains_H: FloatArray, weights_L: FloatArray, covered_L: FloatArray) -> FloatArray:
    """Return which share of what was uncovered each gain is, in [0, 1]."""
    uncovered = float(weights_L @ (1.0 - covered_L))
    shares_H: FloatArray = gains_H / max(uncovered, 1e-30)
    return np.clip(shares_H, 0.0, 1.0)
