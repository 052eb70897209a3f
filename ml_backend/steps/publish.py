"""Publish: make Label Studio's labeling queue follow a ranking.

A new order is written as predictions of a new model version, beside the one in force; then the
project is switched to it in one call. So whatever dies when, the queue in force is a whole one.
Only the front is written before the switch: what annotators wait for must not grow with the
project.
The version is noted in the store before anything is written, so that `settle` finds what a killed
round left behind.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ml_backend.jobs.store import VersionRecord
from ml_backend.records import ProjectSettings, QueueEntry
from ml_backend.steps.workbench import Workbench

log = logging.getLogger(__name__)

VERSION_PREFIX = "al-"
SAMPLING = "Uncertainty sampling"
# A rollback needs the version before the current one; older ones only slow Label Studio down.
KEPT_SUPERSEDED = 1
# An annotation names the prediction that it began with, and Label Studio refuses it where that one
# is gone: so the predictions of tasks that somebody may have open stay for a while. Those are the
# first ones of an order that was in force, until they are labeled.
MAY_BE_OPEN = 30
OPEN_AT_MOST = timedelta(hours=1)
# Rows between two looks for newer news, when writing behind the annotators' backs one by one and
# when deleting: 0.3 s at most.
SLICE = 10
# Tasks of the served order that are compared with the published one: one page of a task list.
SERVED_CHECKED = 200


def new_version(round_id: int) -> str:
    """Name a version so that it is never that of another store's round on the same project."""
    return f"{VERSION_PREFIX}{round_id:06d}-{secrets.token_hex(2)}"


def publish_front(
    bench: Workbench, round_id: int, version: str, entries: Sequence[QueueEntry]
) -> None:
    """Write the front of the queue under a new version and switch the project to it.

    `entries` is the whole window, wanted first. Where nothing is left to be served, the version is
    noted here alone: Label Studio takes none without predictions. Raises LeaseLost before the
    switch where the project is another trainer's by now, PublishMismatch where Label Studio holds
    something else.
    """
    project_id, store = bench.project.project_id, bench.store
    store.add_version(project_id, version, round_id, bench.now())
    store.save_window(project_id, version, [entry.task_id for entry in entries])
    if entries:
        bench.queue.write(_in_writing_order(bench, entries)[: bench.plan.front], version)
    bench.still_ours()
    if entries:
        bench.queue.flip(version)
    _make_current(bench, version)


def publish_rest(
    bench: Workbench, version: str, entries: Sequence[QueueEntry], interrupted: Callable[[], bool]
) -> int:
    """Write what follows the front, a slice at a time, and return how many tasks were written.

    Stops where `interrupted` says that newer news waits: the next order replaces this one anyway.
    Tasks that are wanted again are few and written in any case, or they would never be.
    """
    rest = _in_writing_order(bench, entries)[bench.plan.front :]
    # One import of all is over sooner than the slices, whatever news comes meanwhile.
    size = len(rest) if bench.queue.writes_at_once(len(rest)) else SLICE
    written = 0
    while written < len(rest) and (rest[written].again or not interrupted()):
        bench.still_ours()
        slice_ = rest[written : written + size]
        bench.queue.write(slice_, version)
        written += len(slice_)
        bench.on_progress("writing the queue", bench.plan.front + written, len(entries))
    return written


def _in_writing_order(bench: Workbench, entries: Sequence[QueueEntry]) -> list[QueueEntry]:
    """Return what can be served at once, as far as the front reaches, then what is to be opened.

    A labeled task is not served before it is opened: a front of such tasks would be an empty one.
    """
    served = [entry for entry in entries if not entry.again]
    again = [entry for entry in entries if entry.again]
    return served[: bench.plan.front] + again + served[bench.plan.front :]


def settle(bench: Workbench, found: ProjectSettings) -> None:
    """Bring our list of versions in line with the one that really orders the queue.

    A round that was killed may have switched the project without noting it, or written a version
    that it never switched to.
    """
    project_id, store = bench.project.project_id, bench.store
    for record in store.versions(project_id):
        if record.state != "publishing":
            continue
        if record.version == found.model_version:
            _make_current(bench, record.version)
        else:
            store.set_version_state(project_id, record.version, "abandoned", bench.now())


def in_force(found: ProjectSettings, version: str | None) -> bool:
    """Tell whether Label Studio serves the queue by this version."""
    return found.sampling == SAMPLING and bool(version) and found.model_version == version


def hold(bench: Workbench, version: str | None, found: ProjectSettings) -> None:
    """Put the version that a rollback holds in force again, where somebody switched away."""
    if version is not None and not in_force(found, version):
        bench.queue.flip(version)


def stands(bench: Workbench, version: str | None, found: ProjectSettings) -> bool:
    """Tell whether the queue is served by this version, whole and in the published order.

    A round that was killed or interrupted behind the front left rows out, and people delete and
    edit predictions. Tasks that were deleted took theirs along. A version for which nothing was
    left to be served is in no queue.
    """
    project_id = bench.project.project_id
    window = bench.store.window(project_id, version) if version else []
    if version and not window:
        return True
    if version is None or not in_force(found, version):
        return False
    if bench.project.held:  # left as it is, with what is missing
        return True
    wanted = set(window) & set(bench.store.task_ids(project_id))
    if bench.queue.versions().get(version, 0) < len(wanted):
        return False
    published = set(window)  # /predict may have added others behind
    served = [each for each in bench.queue.served_order(SERVED_CHECKED) if each in published]
    still_there = set(served)
    return served == [task_id for task_id in window if task_id in still_there]


def tidy(bench: Workbench, interrupted: Callable[[], bool], *, keep: int = KEPT_SUPERSEDED) -> int:
    """Delete predictions that nobody is served any more, a slice at a time; return how many.

    The newest `keep` versions that were once in force stay for `rollback`, and of the others what
    somebody may have open.
    """
    deleted, project_id = 0, bench.project.project_id
    expendable = _expendable(bench.store.versions(project_id), keep)
    closed = _closed(bench) if expendable else frozenset()
    for record in expendable:
        written = bench.store.window(project_id, record.version)
        spare = _may_be_open(record, written, closed, bench.now())
        if spare and spare == written:
            continue  # nothing else is left of it
        while not interrupted():
            bench.still_ours()
            gone = bench.queue.delete(record.version, at_most=SLICE, spare=spare)
            deleted += gone
            if gone == SLICE:
                continue
            if spare:
                bench.store.save_window(project_id, record.version, spare)
            else:
                bench.store.set_version_state(project_id, record.version, "deleted", bench.now())
            break
    return deleted


def _closed(bench: Workbench) -> frozenset[int]:
    """Return the tasks that are labeled and not open for one more annotator."""
    project_id, store = bench.project.project_id, bench.store
    labeled = {
        each.task_id
        for each in store.mirror(project_id).annotations
        if each.choice is not None and not each.was_cancelled
    }
    return frozenset(labeled - {front.task_id for front in store.fronts(project_id)})


def _may_be_open(
    record: VersionRecord, written: Sequence[int], closed: frozenset[int], now: datetime
) -> list[int]:
    """Return the tasks that somebody may have got while the version was in force."""
    if record.state == "abandoned" or now - record.changed_at > OPEN_AT_MOST:
        return []
    return [task_id for task_id in written[:MAY_BE_OPEN] if task_id not in closed]


def _expendable(records: Sequence[VersionRecord], keep: int) -> list[VersionRecord]:
    superseded = [record for record in records if record.state == "superseded"]
    abandoned = [record for record in records if record.state == "abandoned"]
    return [*abandoned, *reversed(superseded[keep:])]


def _make_current(bench: Workbench, version: str) -> None:
    project_id, store = bench.project.project_id, bench.store
    for record in store.versions(project_id):
        if record.state == "current" and record.version != version:
            store.set_version_state(project_id, record.version, "superseded", bench.now())
    store.set_version_state(project_id, version, "current", bench.now())
    store.update_project(project_id, current_version=version)
