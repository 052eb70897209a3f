"""Front: tasks that people want first stand before whatever the strategy chose.

An unlabeled task simply comes first, and is wanted until it is labeled. A labeled one is wanted for
a second opinion: it is opened in Label Studio for one more annotator, behind the switch to the new
order, and closed as it was when somebody has answered. Tasks that are drawn for the holdout keep
their turn: answered out of it, they would no longer be a random sample.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ml_backend.jobs.store import FrontRecord, Mirror
from ml_backend.labelstudio.finished_tasks import TaskState
from ml_backend.labelstudio.labeling_queue import LabelingQueue
from ml_backend.steps.situation import Situation
from ml_backend.steps.workbench import Workbench

log = logging.getLogger(__name__)

# Labeled tasks that are open for a second opinion at a time; those behind wait for their turn.
OPEN_AT_ONCE = 10


def reason_of(record: FrontRecord) -> str:
    """Say why a task stands at the front."""
    return f"Put at the front: {record.why}"


def wanted_first(bench: Workbench, mirror: Mirror, situation: Situation) -> tuple[FrontRecord, ...]:
    """Return what comes first in this round, soonest first; drop what was answered or is gone."""
    project_id = bench.project.project_id
    records = bench.store.fronts(project_id)
    if not records:
        return ()
    over = _answered(records, mirror)
    over |= {each.task_id for each in records} - _among(records, mirror.task_ids)
    if over:
        bench.store.drop_fronts(project_id, over)
    apart = over | _among(records, situation.audit_ids_A)
    left = [each for each in records if each.task_id not in apart]
    labeled = [each.task_id for each in left if not situation.in_pool(each.task_id)]
    later = set(labeled[OPEN_AT_ONCE:])
    return tuple(each for each in left if each.task_id not in later)[: bench.plan.window]


def put_first(
    order_N: NDArray[np.int64],
    reasons: Sequence[str],
    ids_N: NDArray[np.int64],
    front: Sequence[FrontRecord],
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Move what is wanted first to the beginning of an order, with its reason.

    order_N are rows of ids_N, and `reasons` belong to the first of them.
    """
    if not front:
        return order_N, tuple(reasons)
    told = {each.task_id: reason_of(each) for each in front}
    rows = {int(ids_N[row]): int(row) for row in np.flatnonzero(np.isin(ids_N, list(told)))}
    ahead = {rows[task_id]: why for task_id, why in told.items() if task_id in rows}
    first_F = np.array(list(ahead), dtype=np.int64)
    own = [why for row, why in zip(order_N.tolist(), reasons, strict=False) if row not in ahead]
    behind_N = order_N[~np.isin(order_N, first_F)]
    return np.concatenate([first_F, behind_N]), (*ahead.values(), *own)


def tend_front(bench: Workbench, interrupted: Callable[[], bool]) -> bool:
    """Close in Label Studio what was answered or withdrawn, and open what is wanted again.

    One task at least, then until `interrupted`. Returns whether all is done. A queue that a
    rollback holds opens nothing.
    """
    project_id = bench.project.project_id
    closing = bench.store.fronts(project_id, withdrawn=True)
    opening = () if bench.project.held else _to_open(bench)
    work = [*[(each, None) for each in closing], *opening]
    for done, (record, state) in enumerate(work):
        if done and interrupted():
            return False
        bench.still_ours()
        if state is None:
            close_again(bench.queue, record)
            bench.store.forget_fronts(project_id, [record.task_id])
        else:
            _open(bench, record, state)
    return True


def close_again(queue: LabelingQueue, record: FrontRecord) -> None:
    """Put a task's overlap back, unless somebody has changed it since."""
    if record.found is None:
        return
    state = queue.finished.look([record.task_id]).get(record.task_id)
    if state is not None and _opened(record, state):
        queue.finished.put_back(record.task_id, int(record.found["overlap"]))


def _to_open(bench: Workbench) -> list[tuple[FrontRecord, TaskState]]:
    """Return the finished tasks among the first that are wanted, with how they are now."""
    answered = [each for each in bench.store.fronts(bench.project.project_id) if each.answers]
    asked = answered[:OPEN_AT_ONCE]
    states = bench.queue.finished.look([each.task_id for each in asked]) if asked else {}
    found = [(each, states[each.task_id]) for each in asked if each.task_id in states]
    return [(each, state) for each, state in found if state.is_labeled and not _opened(each, state)]


def _opened(record: FrontRecord, state: TaskState) -> bool:
    """Tell whether a task is as we left it: one that is finished then waits to be collected."""
    return record.found is not None and record.found["opened_to"] == state.overlap


def _open(bench: Workbench, record: FrontRecord, state: TaskState) -> None:
    # Skips count where the project is set so; a task that wants one more is closed by us anyway.
    opened_to = state.answers + state.skips + 1
    found = {"overlap": state.overlap, "opened_to": opened_to}
    bench.store.note_front(bench.project.project_id, record.task_id, found)
    bench.queue.finished.reopen(record.task_id, opened_to)
    log.info("task %d: open for one more annotator", record.task_id)


def _answered(records: Sequence[FrontRecord], mirror: Mirror) -> set[int]:
    """Return the tasks with a usable annotation that they did not have when they were asked."""
    known = {each.task_id: each.answers for each in records}
    usable: dict[int, dict[str, str]] = defaultdict(dict)
    for each in mirror.annotations:
        if each.task_id in known and each.choice is not None and not each.was_cancelled:
            usable[each.task_id][str(each.annotation_id)] = each.choice
    return {task_id for task_id, now in usable.items() if not now.items() <= known[task_id].items()}


def _among(records: Sequence[FrontRecord], ids: NDArray[np.int64]) -> set[int]:
    asked = np.array([each.task_id for each in records], dtype=np.int64)
    return set(asked[np.isin(asked, ids)].tolist())
