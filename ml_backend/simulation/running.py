"""Replay every cell once, in as many processes as asked for.

Knows processes; a replay itself is `replay.replay`. What is done is kept: killed at any moment, the
same call goes on with what is missing. The result does not depend on the number of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import connection

from threadpoolctl import threadpool_limits

from ml_backend.simulation.cells import Cell, Cells
from ml_backend.simulation.replay import TEST_SHARE, Contender, Curve, LabeledSet, replay


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared: everybody on the same splits, measured after the same budgets of labels."""

    contenders: tuple[Contender, ...]
    budgets: tuple[int, ...]
    seeds: int
    test_share: float = TEST_SHARE


Progress = Callable[[int, int], None]


def run(
    sets: Mapping[str, LabeledSet],
    plan: Plan,
    cells: Cells,
    jobs: int,
    on_progress: Progress = lambda _done, _total: None,
) -> dict[Cell, Curve]:
    """Return the curve of every cell, replaying those that are missing. `sets`: by backbone.

    Raises what a replay raises; the cells before it are kept.
    """
    wanted = [
        (Cell(backbone, contender.label, seed), contender)
        for seed in range(plan.seeds)  # seed by seed: what is done early is comparable early
        for backbone in sets
        for contender in plan.contenders
    ]
    found = {cell: cells.find(cell) for cell, _ in wanted}
    missing = [(cell, contender) for cell, contender in wanted if found[cell] is None]
    kept = len(wanted) - len(missing)
    on_progress(kept, len(wanted))
    _replay_all(sets, plan, cells, jobs, missing, lambda n: on_progress(kept + n, len(wanted)))
    return {cell: curve for cell, _ in wanted if (curve := found[cell] or cells.find(cell))}


def _replay_all(
    sets: Mapping[str, LabeledSet],
    plan: Plan,
    cells: Cells,
    jobs: int,
    missing: Sequence[tuple[Cell, Contender]],
    on_done: Callable[[int], None],
) -> None:
    jobs = min(jobs, len(missing))
    if jobs <= 1:
        for done, (cell, contender) in enumerate(missing, start=1):
            _replay_one(sets[cell.backbone], contender, cell, plan, cells)
            on_done(done)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, _begin, (sets, plan, cells)) as pool:
        running = [pool.submit(_replay_here, cell, contender) for cell, contender in missing]
        try:
            for done, future in enumerate(as_completed(running), start=1):
                future.result()
                on_done(done)
        except BaseException:  # an interrupt too: nobody waits for the replays not yet begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_SHARED: list[tuple[Mapping[str, LabeledSet], Plan, Cells]] = []  # of a process of the pool


def _begin(sets: Mapping[str, LabeledSet], plan: Plan, cells: Cells) -> None:
    """Take over what all replays share, and end when the process that asked has ended."""
    _SHARED[:] = [(sets, plan, cells)]
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _replay_here(cell: Cell, contender: Contender) -> None:
    [(sets, plan, cells)] = _SHARED
    _replay_one(sets[cell.backbone], contender, cell, plan, cells)


def _replay_one(
    images: LabeledSet, contender: Contender, cell: Cell, plan: Plan, cells: Cells
) -> None:
    import sklearn.linear_model  # noqa: F401 - loads the libraries whose threads are limited

    with threadpool_limits(1):  # a core a process; and the same digits however many there are
        curve = replay(images, contender, plan.budgets, cell.seed, test_share=plan.test_share)
    cells.save(cell, curve)
