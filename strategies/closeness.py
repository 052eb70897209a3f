"""Greedy picks whose scores only fall: what is close to a pick is wanted less than before.

k-center and maximal marginal relevance are of this kind. One product per pick over the whole pool
is what makes them slow; here the picks are made in batches and are the same. The m best rows are
looked at alone, their mutual closeness in one product: as long as the best of them is better than
the m-th was at first, no row outside can be better, since scores only fall. Then one product
brings the whole pool up to date with all of these picks: 1,000 of 100,000 x 512 take a CPU second
where a product for each pick takes nine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.device import Matrix, beside, block_rows, module_of, on_host

Rows = slice | IntArray
Score = Callable[[Rows, FloatArray], FloatArray]  # of rows, given how close they are to a pick

AT_ONCE = 1024  # rows looked at alone; more of them means fewer passes and larger products
# Larger products than a cache holds: each one makes the threads wait for one another, which took
# most of the time on a busy machine with blocks of 512 rows.
_BLOCK_ROWS = 4096
NOT_CLOSE = -np.inf


def closest_to(points_ND: Matrix, picks_BD: Matrix, half_squares_B: FloatArray) -> FloatArray:
    """Return per point max_b x.b - |b|^2 / 2 over the picks, in blocks; NOT_CLOSE without picks.

    Runs where the points are.
    """
    xp = module_of(points_ND)
    closest_N = np.full(len(points_ND), NOT_CLOSE, dtype=np.float32)
    if not len(picks_BD):
        return closest_N
    turned_DB, halves_B = picks_BD.T, beside(half_squares_B, points_ND)
    step = block_rows(points_ND, _BLOCK_ROWS)
    for start in range(0, len(points_ND), step):
        block = slice(start, start + step)
        close_NB = points_ND[block] @ turned_DB
        close_NB -= halves_B
        closest_N[block] = on_host(xp.amax(close_NB, axis=1))
    return closest_N


def falling_greedy(
    points_ND: Matrix,
    half_squares_N: FloatArray,
    closest_N: FloatArray,
    score: Score,
    n: int,
    *,
    least: float = -np.inf,
    at_once: int = AT_ONCE,
) -> IntArray:
    """Pick up to `n` rows, each with the highest score given those before.

    score(rows, closest): falls (or stays) as `closest`, the largest x.s - |s|^2 / 2 over what is
    picked, rises. closest_N: that of what is taken already. Ends early where no score is above
    `least`. Ties go to the lower row. The picks are those of one product per pick, whatever
    `at_once`, the number of rows looked at alone.
    """
    closest_N = closest_N.copy()
    scores_N = score(slice(None), closest_N).astype(np.float32)
    picked: list[int] = []
    while len(picked) < n:
        top_B = _best(scores_N, at_once)
        batch = _picks_among(
            points_ND[top_B],
            half_squares_N[top_B],
            closest_N[top_B],
            scores_N[top_B],
            partial(score, top_B),
            n - len(picked),
            least,
        )
        if not batch:
            break
        rows = top_B[batch]
        picked += rows.tolist()
        now_N = closest_to(points_ND, points_ND[rows], half_squares_N[rows])
        np.maximum(closest_N, now_N, out=closest_N)
        scores_N = score(slice(None), closest_N).astype(np.float32)
        scores_N[picked] = -np.inf
    return np.array(picked, dtype=np.int64)


def _best(scores_N: FloatArray, m: int) -> IntArray:
    """Return m rows of the highest scores in rising order, the first of equal best among them."""
    if len(scores_N) <= m:
        return np.arange(len(scores_N))
    top = np.argpartition(-scores_N, m - 1)[:m]
    rows: IntArray = np.unique(np.append(top, scores_N.argmax()))
    return rows


def _picks_among(
    points_BD: Matrix,
    half_squares_B: FloatArray,
    closest_B: FloatArray,
    scores_B: FloatArray,
    score: Callable[[FloatArray], FloatArray],
    n: int,
    least: float,
) -> list[int]:
    """Return the picks that no row outside could have been, at least one unless none is wanted."""
    outside = scores_B.min()
    mutual_BB = on_host(points_BD @ points_BD.T) - half_squares_B
    gone_B = np.isneginf(scores_B)  # picked in an earlier batch
    picks: list[int] = []
    while len(picks) < min(n, len(scores_B)):
        best = int(scores_B.argmax())
        if scores_B[best] <= least or (picks and scores_B[best] <= outside):
            break
        picks.append(best)
        closest_B = np.maximum(closest_B, mutual_BB[:, best])
        scores_B = score(closest_B).astype(np.float32)
        gone_B[best] = True
        scores_B[gone_B] = -np.inf
    return picks
