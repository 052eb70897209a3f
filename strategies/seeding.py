"""k-means++: points drawn one after another, each by its squared distance to those before.

Arthur and Vassilvitskii, 2007. The distances of the whole pool need not be up to date for that: a
draw from distances that leave out the last picks, hence too large, is kept with probability now /
then (rejection sampling), which is the same distribution exactly. Only where too many draws are
rejected is the pool brought up to date, in one product for all picks since.

Points may be outer products of two short vectors, which are never made:

    |l (x) r - l' (x) r'|^2 = |l|^2 |r|^2 + |l'|^2 |r'|^2 - 2 <l, l'> <r, r'>
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.arrays import FloatArray, IntArray

_BLOCK_ROWS = 512
_DRAWS = 64  # proposals looked at together
FEWEST_KEPT = 0.2  # below this share of proposals kept, distances are refreshed
_SAME = 1e-5  # share of the squared lengths below which a distance is rounding


@dataclass(frozen=True, slots=True, eq=False)
class OuterProducts:
    """N vectors l (x) r of C D entries each, held as their factors. float32."""

    left_NC: FloatArray
    right_ND: FloatArray
    squares_N: FloatArray

    @classmethod
    def of(cls, left_NC: FloatArray, right_ND: FloatArray) -> OuterProducts:
        """Build from both factors."""
        squares_N = np.einsum("nc,nc->n", left_NC, left_NC) * np.einsum(
            "nd,nd->n", right_ND, right_ND
        )
        return cls(left_NC.astype(np.float32), right_ND, squares_N.astype(np.float32))

    def take(self, rows: IntArray | slice) -> OuterProducts:
        """Return those of some rows."""
        return OuterProducts(self.left_NC[rows], self.right_ND[rows], self.squares_N[rows])

    def squared_distances(self, others: OuterProducts) -> FloatArray:
        """Return the squared distances as (A, B); exactly 0 where it is no more than rounding."""
        products_AB: FloatArray = self.right_ND @ others.right_ND.T
        products_AB *= self.left_NC @ others.left_NC.T
        products_AB *= -2.0
        lengths_AB = self.squares_N[:, None] + others.squares_N
        products_AB += lengths_AB
        lengths_AB *= _SAME
        products_AB[products_AB < lengths_AB] = 0.0
        return products_AB


def vectors(points_ND: FloatArray) -> OuterProducts:
    """Return plain vectors as products with the number 1."""
    return OuterProducts.of(np.ones((len(points_ND), 1), np.float32), points_ND)


def plus_plus(
    points: OuterProducts,
    n: int,
    rng: np.random.Generator,
    weights_N: FloatArray | None = None,
    *,
    fewest_kept: float = FEWEST_KEPT,
) -> IntArray:
    """Draw up to `n` rows by k-means++, the longest first; weights multiply squared distances.

    Ends early where every point is one that was picked. fewest_kept: share of draws kept below
    which distances are brought up to date; it changes the cost, not the distribution.
    """
    wanted_N = points.squares_N.astype(np.float64)
    if weights_N is not None:
        wanted_N *= weights_N
    if not wanted_N.any():
        return np.empty(0, dtype=np.int64)
    picked = [int(wanted_N.argmax())]
    current = 0  # picks that `squares_N` knows
    squares_N = np.full(len(wanted_N), np.inf, dtype=np.float32)
    while len(picked) < n:
        _refresh(squares_N, points, picked[current:])
        current = len(picked)
        wanted_N = squares_N.astype(np.float64)
        if weights_N is not None:
            wanted_N *= weights_N
        cumulated_N = np.cumsum(wanted_N)
        if cumulated_N[-1] <= 0:
            break
        picked += _draw(points, squares_N, cumulated_N, n - len(picked), rng, fewest_kept)
    return np.array(picked[:n], dtype=np.int64)


def _refresh(squares_N: FloatArray, points: OuterProducts, picks: list[int]) -> None:
    """Bring the distances to the nearest pick up to date, in place."""
    new = points.take(np.array(picks))
    for start in range(0, len(squares_N), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        nearest = points.take(block).squared_distances(new).min(axis=1)
        np.minimum(squares_N[block], nearest, out=squares_N[block])
    squares_N[picks] = 0.0


def _draw(
    points: OuterProducts,
    squares_N: FloatArray,
    cumulated_N: FloatArray,
    n: int,
    rng: np.random.Generator,
    fewest_kept: float,
) -> list[int]:
    """Draw picks from distances that leave them out, until `n` are there or few are kept."""
    picks: list[int] = []
    while len(picks) < n:
        drawn_P = np.searchsorted(cumulated_N, rng.random(_DRAWS) * cumulated_N[-1], side="right")
        drawn_P = np.minimum(drawn_P, len(squares_N) - 1)
        keep_P = rng.random(_DRAWS) * squares_N[drawn_P]  # kept if below the distance of now
        proposals = points.take(drawn_P)
        now_P = squares_N[drawn_P].copy()
        if picks:
            known = points.take(np.array(picks))
            now_P = np.minimum(now_P, proposals.squared_distances(known).min(axis=1))
        mutual_PP = proposals.squared_distances(proposals)
        kept = 0
        for place, row in enumerate(drawn_P.tolist()):
            if keep_P[place] < now_P[place]:
                picks.append(row)
                kept += 1
                now_P = np.minimum(now_P, mutual_PP[:, place])
                now_P[drawn_P == row] = 0.0
        if kept < fewest_kept * _DRAWS:
            break
    return picks
