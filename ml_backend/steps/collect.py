"""Collect: bring our mirror of the project up to what Label Studio says.

Webhooks are hints and Label Studio is the truth, so an event only says where to look. What the
events name is read again; where they name nothing, or too much, or on a timer, a wider look
repairs whatever was missed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml_backend.jobs.store import Claim
from ml_backend.labelstudio.labeling_config import hash_of, parse_control
from ml_backend.labelstudio.projects import ProjectFacts
from ml_backend.records import Annotation, ChoiceControl, Task, WebhookEvent
from ml_backend.steps.embed import try_again
from ml_backend.steps.publish import stands
from ml_backend.steps.workbench import Workbench

log = logging.getLogger(__name__)

# Reading one task's annotations is one request: past this many, pages of many tasks are cheaper.
MAX_TASKS_READ_SINGLY = 50
# A look back overlaps the one before it by this much, for writes in flight and clocks that differ.
LOOK_BACK_OVERLAP = timedelta(minutes=5)

# What `Store.mark_dirty` may ask for: to compare counters, to look at what changed lately, or at
# all there is. A look reads every task that was touched, by ourselves too: seconds where single
# predictions are written. Comparing counters takes one request, and misses a corrected label.
COUNT = "count"
LOOK = "look"
EVERYTHING = frozenset({"connect", "sync"})
# What publishing itself sets off, or what nobody did: no reason to hurry a round that is at work.
ECHOES = frozenset({COUNT, LOOK, "PROJECT_UPDATED"})


@dataclass(frozen=True, slots=True)
class News:
    """What this round was told and found."""

    facts: ProjectFacts  # settings and counters as Label Studio has them now
    control: ChoiceControl
    looked: str  # "hinted", "since" or "everything"
    moved: bool  # tasks or labels are not what they were
    labeling: bool  # somebody is annotating, and may be waiting for the new order


def collect(bench: Workbench, claim: Claim) -> News:
    """Update the mirror from Label Studio and tell what kind of news there was.

    Raises LabelStudioError where it cannot be reached, UnsupportedLabelingConfig where the
    project's labeling config has become something that cannot be learned.
    """
    facts = bench.reader.facts()
    control, config_changed = _current_control(bench, facts)
    hinted, nowhere = _hints(bench, claim.events)
    labeling = any(event.action.startswith("ANNOTATION") for event in claim.events)
    if config_changed or claim.requested & EVERYTHING:
        look_at_everything(bench, control)
        return News(facts, control, "everything", moved=True, labeling=labeling)
    if nowhere or len(hinted) > MAX_TASKS_READ_SINGLY or LOOK in claim.requested:
        moved = look_since(bench, control, _last_look(bench, claim))
        return News(facts, control, "since", moved, labeling)
    moved = _look_at(bench, control, hinted)
    if COUNT in claim.requested and _something_is_lost(bench):
        moved |= look_since(bench, control, _last_look(bench, claim))
        return News(facts, control, "since", moved, labeling)
    return News(facts, control, "hinted", moved, labeling)


def only_looked(bench: Workbench, claim: Claim) -> bool:
    """Answer a claim that only asks to look; False where it asks for more.

    Saves a round a minute on a project where nobody is at work. Where the look finds something, a
    round is asked for and noted before the claim is given back: the mirror holds the news by now,
    and a second look after a kill would find none.
    """
    told = {event.action for event in claim.events}
    if not (claim.requested <= ECHOES and told <= ECHOES):
        return False
    news = collect(bench, claim)
    if (
        news.moved
        or not stands(bench, bench.project.current_version, news.facts.settings)
        or try_again(bench, at_once=False)
    ):
        bench.store.mark_dirty(bench.project.project_id, "found", bench.now())
    return True


def look_at_everything(bench: Workbench, control: ChoiceControl) -> None:
    """Make the mirror equal to Label Studio: every task and every annotation."""
    project_id = bench.project.project_id
    known = set(bench.store.task_ids(project_id))
    seen: set[int] = set()
    total = bench.reader.facts().task_count
    for page in bench.reader.tasks(control):
        bench.still_ours()
        bench.store.upsert_tasks(project_id, page)
        seen.update(task.task_id for task in page)
        bench.on_progress("reading tasks", len(seen), total)
    bench.store.remove_tasks(project_id, known - seen)
    annotated: set[int] = set()
    for task_ids, answers in bench.reader.annotated(control):
        bench.still_ours()
        bench.store.replace_annotations(project_id, task_ids, answers)
        annotated.update(task_ids)
        bench.on_progress("reading annotations", len(annotated), len(annotated))
    _forget_annotations(bench, control, annotated)


def look_since(bench: Workbench, control: ChoiceControl, since: datetime) -> bool:
    """Read what changed since a moment, and say whether anything did.

    Deletions leave no trace in a list of changed tasks: counters that disagree with the mirror
    afterwards are repaired by `look_at_everything`.
    """
    project_id, moved = bench.project.project_id, False
    for tasks, answers in bench.reader.changed_since(since - LOOK_BACK_OVERLAP, control):
        moved |= _mirror(bench, tasks, answers)
    if disagrees(bench, bench.reader.facts()):
        log.info("project %d: counters disagree, reading it all again", project_id)
        look_at_everything(bench, control)
        moved = True
    return moved


def disagrees(bench: Workbench, facts: ProjectFacts) -> bool:
    """Compare Label Studio's counters with the mirror: the cheap test for something lost."""
    ours = bench.store.counts(bench.project.project_id)
    return (ours.tasks, ours.annotations, ours.skips) != (
        facts.task_count,
        facts.annotation_count,
        facts.skip_count,
    )


def _something_is_lost(bench: Workbench) -> bool:
    """Compare counters; what has just been told and waits for the next round is not lost."""
    differs = disagrees(bench, bench.reader.facts())
    return differs and not bench.store.is_dirty(bench.project.project_id, ignoring=ECHOES)


def _look_at(bench: Workbench, control: ChoiceControl, task_ids: Collection[int]) -> bool:
    moved = False
    for task_id in task_ids:
        found = bench.reader.task(task_id, control)
        if found is None:
            moved |= bench.store.remove_tasks(bench.project.project_id, [task_id]) > 0
        else:
            moved |= _mirror(bench, [found[0]], found[1])
    return moved


def _mirror(bench: Workbench, tasks: Sequence[Task], annotations: Sequence[Annotation]) -> bool:
    project_id = bench.project.project_id
    changed = bench.store.upsert_tasks(project_id, tasks)
    task_ids = [task.task_id for task in tasks]
    return bench.store.replace_annotations(project_id, task_ids, annotations) or changed > 0


def _hints(bench: Workbench, events: Collection[WebhookEvent]) -> tuple[set[int], bool]:
    """Return the tasks that events name, and whether some event does not say where to look."""
    project_id = bench.project.project_id
    hinted: set[int] = set()
    unknown = False
    for event in events:
        by_annotation = bench.store.tasks_of_annotations(project_id, event.annotation_ids)
        hinted |= set(event.task_ids) | by_annotation
        names_something = bool(event.task_ids or event.annotation_ids)
        unknown |= not names_something and event.action.startswith(("ANNOTATION", "TASK"))
    return hinted, unknown


def _current_control(bench: Workbench, facts: ProjectFacts) -> tuple[ChoiceControl, bool]:
    project = bench.project
    if hash_of(facts.label_config) == project.label_config_hash:
        return project.control, False
    control = parse_control(facts.label_config, project.control.from_name)
    bench.store.update_project(
        project.project_id, control=control, label_config_hash=hash_of(facts.label_config)
    )
    log.info("project %d: the labeling config changed, reading it all again", project.project_id)
    return control, control != project.control


def _forget_annotations(bench: Workbench, control: ChoiceControl, annotated: set[int]) -> None:
    """Empty the tasks that the mirror holds annotations of and Label Studio does not.

    Label Studio lists annotated tasks by counters that it keeps with the tasks. An import of
    predictions makes it count anew, and an annotation that is saved meanwhile is written over. So
    what is missing from that list is looked at before it is forgotten.
    """
    project_id = bench.project.project_id
    mirror = bench.store.mirror(project_id)
    missing = {annotation.task_id for annotation in mirror.annotations} - annotated
    for tasks, answers in bench.reader.tasks_of(sorted(missing), control):
        task_ids = [task.task_id for task in tasks]
        bench.store.replace_annotations(project_id, task_ids, answers)
        missing.difference_update(task_ids)
    bench.store.replace_annotations(project_id, missing, [])


def _last_look(bench: Workbench, claim: Claim) -> datetime:
    """Return since when things may have happened that we did not see."""
    looks = [bench.project.connected_at]
    looks += [
        record.started_at
        for record in bench.store.rounds(bench.project.project_id)
        if record.state not in ("running", "failed")
    ]
    told = [event.received_at for event in claim.events if event.received_at]
    return min([max(looks), *told])
