"""rank(): the pool in, an order out. The story of this package; the pieces stand beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml_backend.errors import ConfigurationError, UnrankableInput
from strategies.arrays import (
    BoolArray,
    Candidates,
    FloatArray,
    IntArray,
    Labeled,
    require_compatible,
)
from strategies.device import require_device
from strategies.order import NEAR_DUPLICATE, complete, priorities
from strategies.query import Picks, Query
from strategies.reasons import Reason, reason_behind, reasons_for_head
from strategies.table import Strategy, find_strategy
from strategies.weights import task_weights


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What a ranking was made of, so that it can be repaired and explained.

    Rows here are those of the pool sorted by task id; rows_N maps them to the caller's. picks,
    order_N and parts_N are the ranking's as it was made; covered_N what repairs have covered since.
    """

    query: Query
    strategy: Strategy
    cold: bool
    rows_N: IntArray
    picks: Picks
    order_N: IntArray
    parts_N: IntArray
    covered_N: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The whole pool in the order in which it should be labeled.

    order_N / `order`: pool rows, most wanted first. priority[i] belongs to order[i]: from 1.0 down
    to 0.0, strictly decreasing. reasons[i] belongs to order[i], for the head only.
    uncertainty_N: per pool row, in [0, 1], as the strategy saw it, or None where it saw none.
    strategy: what answered, which is the cold start of the one asked for while there is no model.
    memory: for `repair` and `explain`; keeps the inputs alive. None for an empty pool.
    """

    order: IntArray
    priority: FloatArray
    reasons: tuple[Reason, ...]
    uncertainty_N: FloatArray | None
    strategy: str
    cold_start: bool
    memory: Memory | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Return N."""
        return len(self.order)


def rank(
    name: str | Strategy,
    candidates: Candidates,
    labeled: Labeled,
    *,
    head: int = 1000,
    rng: np.random.Generator,
    clusters_N: IntArray | None = None,
    near_duplicate: float = NEAR_DUPLICATE,
    class_balance: float = 0.0,
    device: str | None = None,
    **parameters: Any,
) -> Ranking:
    """Order the pool by the strategy called `name`, or by one that is not in the table.

    head: how many places the full strategy fills; behind them comes the cheaper body.
    rng: the same generator state gives the same ranking, in whatever order the rows come.
    clusters_N: a cluster index per pool row (`cluster_pool`), to save computing it anew.
    near_duplicate: cosine above which a task behind the head repeats a labeled or picked one.
    class_balance: above 0, tasks of classes with few labels come sooner; see `task_weights`.
    device: of torch, where the large products of some strategies run; None: numpy on the CPU.
    parameters: of the strategy; see STRATEGIES[name].parameters.

    Raises UnknownStrategy (name or parameter), ConfigurationError (a parameter's value, device),
    UnrankableInput (arrays).
    """
    asked = name if isinstance(name, Strategy) else find_strategy(name)
    asked.check(parameters)
    require_compatible(candidates, labeled)
    _require_whole(head)
    require_device(device)
    weights_N = task_weights(candidates, labeled, class_balance)
    cold = asked.must_wait(candidates, labeled, parameters)
    strategy = find_strategy(asked.cold_start) if cold else asked
    strategy.require_needs(candidates)
    if not len(candidates):
        return Ranking(np.empty(0, np.int64), np.empty(0), (), None, strategy.name, cold)
    if clusters_N is not None:
        clusters_N = _require_clusters(clusters_N, len(candidates))

    rows_N, candidates, weights_N, clusters_N = _by_task_id(candidates, weights_N, clusters_N)
    for_head, for_body = _two_generators(rng)
    head = min(head, len(candidates))
    query = Query(candidates, labeled, head, for_head, weights_N, clusters_N, device)
    taken = strategy.parameters
    picks = strategy.pick(query, **{key: parameters[key] for key in parameters if key in taken})
    order_N, parts_N = complete(
        query, picks, rng=for_body, clusters_N=clusters_N, near_duplicate=near_duplicate
    )
    nothing_N = np.zeros(len(order_N), dtype=bool)
    memory = Memory(query, strategy, cold, rows_N, picks, order_N, parts_N, nothing_N)
    return assemble(memory, picks, order_N)


def assemble(memory: Memory, picks: Picks, order_N: IntArray) -> Ranking:
    """Return the ranking with this order, whose head is these picks."""
    n_open = len(order_N) - int(memory.covered_N.sum())
    head_rows = order_N[: min(memory.query.head, n_open)].tolist()
    return Ranking(
        memory.rows_N[order_N],
        priorities(len(order_N)),
        reasons_for_head(
            memory.query, picks, head_rows, cold=memory.cold, kind=memory.strategy.kind
        ),
        _by_pool_row(picks.uncertainty_N, memory.rows_N),
        memory.strategy.name,
        memory.cold,
        memory,
    )


def reason_at(ranking: Ranking, place: int) -> Reason:
    """Return why a task stands at this place of a ranking that is not empty."""
    if place < len(ranking.reasons):
        return ranking.reasons[place]
    memory = ranking.memory
    assert memory is not None  # there is a place
    row = sorted_row(memory, int(ranking.order[place]))
    covered = bool(memory.covered_N[row])
    part = int(memory.parts_N[row])
    return reason_behind(memory.query, memory.picks, row, part=part, covered=covered)


def sorted_row(memory: Memory, pool_row: int) -> int:
    """Return which row of the pool sorted by task id a pool row is."""
    return int(np.flatnonzero(memory.rows_N == pool_row)[0])


def _by_task_id(
    candidates: Candidates, weights_N: FloatArray | None, clusters_N: IntArray | None
) -> tuple[IntArray, Candidates, FloatArray | None, IntArray | None]:
    """Return the pool sorted by task id, and the pool row that each sorted row was."""
    ids_N = candidates.task_ids_N
    rows_N = np.argsort(ids_N)
    if (ids_N[1:] > ids_N[:-1]).all():  # the usual case: spare the copy of all embeddings
        return rows_N, candidates, weights_N, clusters_N
    return (
        rows_N,
        candidates.take(rows_N),
        None if weights_N is None else weights_N[rows_N],
        None if clusters_N is None else clusters_N[rows_N],
    )


def _by_pool_row(values_N: FloatArray | None, rows_N: IntArray) -> FloatArray | None:
    if values_N is None:
        return None
    back_N = np.empty_like(values_N)
    back_N[rows_N] = values_N
    return back_N


def _two_generators(
    rng: np.random.Generator,
) -> tuple[np.random.Generator, np.random.Generator]:
    """Return one generator for the head and one for the body: how much one draws is its own."""
    seeds = rng.integers(2**63, size=2)
    return np.random.default_rng(seeds[0]), np.random.default_rng(seeds[1])


def _require_whole(head: int) -> None:
    if not isinstance(head, (int, np.integer)) or head < 1:
        raise ConfigurationError(f"head={head!r}: expected a whole number >= 1")


def _require_clusters(clusters_N: IntArray, n_rows: int) -> IntArray:
    clusters_N = np.asarray(clusters_N)
    if clusters_N.shape != (n_rows,) or clusters_N.dtype.kind not in "iu":
        raise UnrankableInput(
            f"clusters_N has shape {clusters_N.shape} of {clusters_N.dtype}: "
            f"expected ({n_rows},) integers"
        )
    return clusters_N.astype(np.int64, copy=False)
