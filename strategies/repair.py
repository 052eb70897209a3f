"""Mend a ranking when tasks fall out of it: labeled out of order, held by somebody else, skipped.

`repair(ranking, covered)` answers in milliseconds, since nothing is read again but the similarities
that the ranking keeps. A covered task counts as labeled: it goes to the end, and what is like it
gains less.

- The head of a greedy coverage (uherding, maxherding) is picked anew, and exactly: coverage only
  grows, so that no task can gain more than before, and the old gains serve as the upper bounds of
  the same lazy greedy algorithm. It is what ranking the rest of the pool again would give, with the
  same landmarks, kernel and uncertainties.
- Everything else keeps its relative order: the head of any other strategy, and the body and tail of
  all. What leaves a repaired head stands right behind it. Only ranking anew sends newly repeated
  tasks to the tail.

A repair starts from the ranking as it was made: repairing twice is repairing once with both sets,
and a task that is given back (a lock that expired, an annotation deleted) is one left out of
`covered` in a repair of the first ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ml_backend.errors import UnrankableInput
from strategies.arrays import BoolArray, FloatArray, IntArray
from strategies.herding import coverage, lazy_greedy, shares
from strategies.query import Goal, Picks
from strategies.ranking import Memory, Ranking, assemble


def repair(ranking: Ranking, covered: Sequence[int] | IntArray) -> Ranking:
    """Return the ranking with these pool rows covered, at the end, and the rest mended.

    covered: rows of the pool that was ranked, each in [0, N); those of earlier repairs stay
    covered. The result can be repaired again. Raises UnrankableInput.
    """
    is_covered_N = _is_covered(covered, len(ranking))
    memory = ranking.memory
    if memory is None or not is_covered_N.any():
        return ranking
    covered_N = memory.covered_N | is_covered_N[memory.rows_N]
    picks = _picked_anew(memory, covered_N)
    order_N = _with_picks_first(memory.order_N, picks.rows_K, covered_N)
    return assemble(replace(memory, covered_N=covered_N), picks, order_N)


def _is_covered(covered: Sequence[int] | IntArray, n_rows: int) -> BoolArray:
    rows, is_covered_N = np.asarray(covered), np.zeros(n_rows, dtype=bool)
    if rows.size and (rows.ndim != 1 or rows.dtype.kind not in "iu"):
        raise UnrankableInput(f"covered has shape {rows.shape} of {rows.dtype}: expected pool rows")
    outside = rows[(rows < 0) | (rows >= n_rows)]
    if outside.size:
        raise UnrankableInput(f"covered holds row {outside[0]}: expected 0 <= row < {n_rows}")
    is_covered_N[rows.astype(np.int64)] = True
    return is_covered_N


def _picked_anew(memory: Memory, covered_N: BoolArray) -> Picks:
    picks, goal = memory.picks, memory.picks.goal
    if goal is None:
        stays_K = ~covered_N[picks.rows_K]
        shares_K = None if picks.coverage_K is None else picks.coverage_K[stays_K]
        return replace(picks, rows_K=picks.rows_K[stays_K], coverage_K=shares_K)
    covered_L = _coverage_with(memory, goal, np.flatnonzero(covered_N))
    bounds_K = np.where(covered_N[goal.rows_K], 0.0, goal.bounds_K)
    picks_H, gains_H = lazy_greedy(
        goal.similarity_KL, goal.weights_L, covered_L, memory.query.head, bounds_K=bounds_K
    )
    shares_H = shares(gains_H, goal.weights_L, covered_L)
    return replace(picks, rows_K=goal.rows_K[picks_H], coverage_K=shares_H)


def _coverage_with(memory: Memory, goal: Goal, rows: IntArray) -> FloatArray:
    covered_D = goal.directions.of(memory.query.embeddings_ND[rows])
    return np.maximum(goal.covered_L, coverage(goal.landmarks_LD, covered_D, goal.sigma))


def _with_picks_first(order_N: IntArray, picks_K: IntArray, covered_N: BoolArray) -> IntArray:
    picked_N = np.zeros(len(order_N), dtype=bool)
    picked_N[picks_K] = True
    rest = order_N[~(picked_N | covered_N)[order_N]]
    return np.concatenate([picks_K, rest, order_N[covered_N[order_N]]])
