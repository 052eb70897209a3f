"""BAIT: the batch that leaves the least error in the head's weights, where the pool needs it.

    next = argmin_x  tr[ (lambda I + F_labeled + F_picked + x x')^-1  F_all ]

Ash, Goel, Krishnamurthy, Kakade, NeurIPS 2021, with the binary Fisher information of Huseljic et
al. (Fast Fishing, ECML 2024): x = sqrt(p (1 - p)) z, p the probability of the likeliest class, z
the head's input; with several labels a task, the mean of p (1 - p) over them. Forward picks only:
the paper picks twice as many and takes half of them back, which leaves no order.

What is ours is the arithmetic. With A the inverse and F = F_all, a pick lowers the trace by
x'AFAx / (1 + x'Ax). Both numbers are kept for each candidate and brought up to date by two
products with it per pick: O(N D), where the published code takes O(N D^2). Several picks at a time
are guessed from a few hopeful candidates, and kept as far as each is the best of all: one matrix
product over the candidates then serves them all, and the picks are those of the plain algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.arrays import FloatArray, IntArray
from strategies.dropout import predicted
from strategies.positions import directions
from strategies.query import Picks, Query
from strategies.sampling import candidate_rows

REGULARISATION = 1e-3  # of unit inputs; the published 1 is for features of length 40 or so
MAX_CANDIDATES = 10_000
_BLOCK_ROWS = 4096
HOPEFUL = 512  # candidates that picks are guessed from: they fit a cache
_MOST_GUESSES = 32
_NOTHING = 1e-9  # share of the trace below which a pick is rounding


def bait(
    query: Query,
    *,
    regularisation: float = REGULARISATION,
    max_candidates: int = MAX_CANDIDATES,
) -> Picks:
    """Pick what lowers the expected error of the head over the whole pool the most."""
    probs_NC = query.candidates.probs_NC
    assert probs_NC is not None  # the table answers with the cold start where there is no model
    multi_label = query.candidates.multi_label
    pool_ND, labeled_MD = directions(query)
    pool_ND *= fisher_roots(probs_NC, multi_label)[:, None]  # in place: it is our copy
    if len(labeled_MD):
        said_MC = predicted(query.candidates, query.labeled.embeddings_MD)
        labeled_MD *= fisher_roots(said_MC, multi_label)[:, None]
    known_DD = second_moment(labeled_MD)
    unsure_N = query.uncertainty("margin")
    rows_K = candidate_rows(query, unsure_N, max_candidates)
    picks = forward_greedy(
        pool_ND[rows_K],
        known_DD,
        second_moment(pool_ND, query.weights_N) + known_DD,
        query.head,
        regularisation=regularisation,
    )
    return Picks(rows_K[picks], unsure_N)


def fisher_roots(probs_NC: FloatArray, multi_label: bool) -> FloatArray:
    """Return sqrt(p (1 - p)) per row, float32."""
    if multi_label:
        variance_N = (probs_NC * (1.0 - probs_NC)).mean(axis=1)
    else:
        likeliest_N = probs_NC.max(axis=1)
        variance_N = likeliest_N * (1.0 - likeliest_N)
    roots_N: FloatArray = np.sqrt(np.maximum(variance_N, 0.0)).astype(np.float32)
    return roots_N


def second_moment(rows_ND: FloatArray, weights_N: FloatArray | None = None) -> FloatArray:
    """Return sum_n w x x' as float64 (D, D)."""
    dim = rows_ND.shape[1]
    sum_DD = np.zeros((dim, dim))
    for start in range(0, len(rows_ND), _BLOCK_ROWS):
        block = rows_ND[start : start + _BLOCK_ROWS]
        weighted = block
        if weights_N is not None:
            weighted = block * weights_N[start : start + _BLOCK_ROWS, None]
        sum_DD += weighted.T @ block
    return sum_DD


def forward_greedy(
    rows_KD: FloatArray,
    known_DD: FloatArray,
    all_DD: FloatArray,
    n: int,
    *,
    regularisation: float = REGULARISATION,
    hopeful: int = HOPEFUL,
) -> IntArray:
    """Pick up to `n` rows, each the argmin of tr[(lambda I + known + picked)^-1 all].

    Ends early where no row lowers the trace any more. Ties go to the lower row. The picks are the
    same for any number of `hopeful` candidates to guess from.
    """
    inverse_DD = np.linalg.inv(known_DD + regularisation * np.eye(len(known_DD)))
    middle_DD = inverse_DD @ all_DD @ inverse_DD
    least = _NOTHING * float(np.einsum("de,ed->", inverse_DD, all_DD))
    rows_KD = rows_KD.astype(np.float64)
    gains = _Gains(
        np.einsum("kd,kd->k", rows_KD @ inverse_DD, rows_KD),
        np.einsum("kd,kd->k", rows_KD @ middle_DD, rows_KD),
    )
    picks: list[int] = []
    guesses = 1
    while len(picks) < min(n, len(rows_KD)):
        likely = gains.best(hopeful)
        guessed, steps = _guess(rows_KD[likely], gains.take(likely), inverse_DD, middle_DD, guesses)
        right = _right_guesses(rows_KD, gains, likely[guessed].tolist(), steps, least)
        if not right:
            break
        steps.first(len(right)).apply(inverse_DD, middle_DD)
        guesses = min(2 * len(right), _MOST_GUESSES)
        picks += right
    return np.array(picks[:n], dtype=np.int64)


@dataclass(slots=True, eq=False)
class _Gains:
    """What each candidate would lower the trace by: x'AFAx / (1 + x'Ax). -inf once picked."""

    alone_K: FloatArray  # x'Ax
    needed_K: FloatArray  # x'AFAx

    def now(self) -> FloatArray:
        gains_K: FloatArray = self.needed_K / (1.0 + self.alone_K)
        return gains_K

    def best(self, m: int) -> IntArray:
        """Return the rows of the m largest gains, in rising order."""
        if len(self.alone_K) <= m:
            return np.arange(len(self.alone_K))
        gains_K = self.now()
        likely = np.argpartition(-gains_K, m - 1)[:m]
        # Of equal best, the first: it is what the plain algorithm picks.
        rows: IntArray = np.unique(np.append(likely, gains_K.argmax()))
        return rows

    def take(self, rows: IntArray) -> _Gains:
        return _Gains(self.alone_K[rows].copy(), self.needed_K[rows].copy())

    def follow(self, pick: int, by_a_K: FloatArray, by_b_K: FloatArray) -> None:
        """Bring up to date for a pick x, given each candidate's product with Ax and AFAx."""
        shrink, gained = 1.0 / (1.0 + by_a_K[pick]), by_b_K[pick]
        self.alone_K -= shrink * by_a_K**2
        self.needed_K += shrink * by_a_K * (shrink * gained * by_a_K - 2.0 * by_b_K)
        self.needed_K[pick] = -np.inf


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """How R picks one after another change A and AFA (Sherman and Morrison).

    A -= sum_r s a a', and AFA -= sum_r u a' + a u', with a = Ax and u = s (AFAx - s x'AFAx a / 2)
    taken just before the pick, and s = 1 / (1 + x'Ax).
    """

    a_RD: FloatArray
    b_RD: FloatArray
    u_RD: FloatArray
    shrink_R: FloatArray

    @classmethod
    def none(cls, dim: int) -> _Steps:
        nothing_RD = np.empty((0, dim))
        return cls(nothing_RD, nothing_RD, nothing_RD, np.empty(0))

    def first(self, n: int) -> _Steps:
        return _Steps(self.a_RD[:n], self.b_RD[:n], self.u_RD[:n], self.shrink_R[:n])

    def then(self, x_D: FloatArray, inverse_DD: FloatArray, middle_DD: FloatArray) -> _Steps:
        """Return these steps and the one that picks x."""
        by_a_R = self.a_RD @ x_D
        a_D = inverse_DD @ x_D - (self.shrink_R * by_a_R) @ self.a_RD
        b_D = middle_DD @ x_D - by_a_R @ self.u_RD - (self.u_RD @ x_D) @ self.a_RD
        shrink = 1.0 / (1.0 + x_D @ a_D)
        u_D = shrink * (b_D - (0.5 * shrink * (x_D @ b_D)) * a_D)
        return _Steps(
            np.vstack([self.a_RD, a_D]),
            np.vstack([self.b_RD, b_D]),
            np.vstack([self.u_RD, u_D]),
            np.append(self.shrink_R, shrink),
        )

    def apply(self, inverse_DD: FloatArray, middle_DD: FloatArray) -> None:
        """Change A and AFA in place."""
        inverse_DD -= (self.a_RD.T * self.shrink_R) @ self.a_RD
        mixed_DD = self.u_RD.T @ self.a_RD
        middle_DD -= mixed_DD
        middle_DD -= mixed_DD.T


def _guess(
    rows_HD: FloatArray,
    gains: _Gains,
    inverse_DD: FloatArray,
    middle_DD: FloatArray,
    n: int,
) -> tuple[list[int], _Steps]:
    """Return the next `n` picks as if only these few candidates existed, and their steps."""
    guessed: list[int] = []
    steps = _Steps.none(rows_HD.shape[1])
    while len(guessed) < min(n, len(rows_HD)):
        best = int(gains.now().argmax())
        steps = steps.then(rows_HD[best], inverse_DD, middle_DD)
        gains.follow(best, rows_HD @ steps.a_RD[-1], rows_HD @ steps.b_RD[-1])
        guessed.append(best)
    return guessed, steps


def _right_guesses(
    rows_KD: FloatArray, gains: _Gains, guessed: list[int], steps: _Steps, least: float
) -> list[int]:
    """Follow the guesses as long as each is the best of all candidates; return those."""
    by_a_RK, by_b_RK = steps.a_RD @ rows_KD.T, steps.b_RD @ rows_KD.T
    right: list[int] = []
    for pick, by_a_K, by_b_K in zip(guessed, by_a_RK, by_b_RK, strict=True):
        gains_K = gains.now()
        if gains_K[pick] <= least or gains_K.argmax() != pick:
            break
        gains.follow(pick, by_a_K, by_b_K)
        right.append(pick)
    return right
