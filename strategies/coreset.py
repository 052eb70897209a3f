"""CoreSet: greedy k-center. Each pick is the task farthest from all that is labeled or picked.

Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR
2018 (its greedy algorithm, a 2-approximation of the smallest radius). Exact over the whole pool.
It goes to the outliers first: below random with few labels on many image sets.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.closeness import AT_ONCE, Rows, closest_to, falling_greedy
from strategies.device import Matrix, module_of, on_host, placed
from strategies.positions import directions
from strategies.query import Picks, Query

_SAME = 1e-5  # squared distance of unit vectors below which two images are one


def coreset(query: Query) -> Picks:
    """Pick what is farthest from everything labeled or picked."""
    pool_ND, labeled_MD = directions(query)
    pool_ND, labeled_MD = placed(pool_ND, query.device), placed(labeled_MD, query.device)
    rows_K = k_center(pool_ND, labeled_MD, query.head, query.weights_N)
    return Picks(rows_K, query.uncertainty("margin"))


def k_center(
    points_ND: Matrix,
    taken_MD: Matrix,
    n: int,
    weights_N: FloatArray | None = None,
    *,
    at_once: int = AT_ONCE,
) -> IntArray:
    """Return up to `n` rows, each the farthest (times its weight) from those before and `taken`.

    With nothing taken the first is the one nearest to the mean. Ends where all are covered.
    """
    half_squares_N, half_squares_M = _half_squares(points_ND), _half_squares(taken_MD)
    closest_N = closest_to(points_ND, taken_MD, half_squares_M)
    first: list[int] = []
    if not len(taken_MD):
        to_mean_N = on_host(points_ND @ points_ND.mean(axis=0))
        first = [int((to_mean_N - half_squares_N).argmax())]
        closest_N = closest_to(points_ND, points_ND[first], half_squares_N[first])

    def squared_distance(rows: Rows, closest: FloatArray) -> FloatArray:
        squares: FloatArray = 2.0 * (half_squares_N[rows] - closest)
        if weights_N is not None:
            squares = squares * weights_N[rows] ** 2
        return squares

    least = _SAME * float(2.0 * half_squares_N.max(initial=0.0))
    rest = falling_greedy(
        points_ND,
        half_squares_N,
        closest_N,
        squared_distance,
        n - len(first),
        least=least,
        at_once=at_once,
    )
    return np.concatenate([np.array(first, dtype=np.int64), rest])


def _half_squares(rows_ND: Matrix) -> FloatArray:
    halves_N: FloatArray = 0.5 * on_host(module_of(rows_ND).einsum("nd,nd->n", rows_ND, rows_ND))
    return halves_N
