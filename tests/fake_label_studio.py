"""A Label Studio in memory, as far as rounds see one: a project reader and a labeling queue.

`tests/contract` runs the same tests against this and against a real server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ml_backend.errors import (
    LabelStudioError,
    LabelStudioNotFound,
    PublishMismatch,
)
from ml_backend.labelstudio.finished_tasks import TaskState
from ml_backend.labelstudio.labeling_queue import UNCERTAINTY_SAMPLING, score_of
from ml_backend.labelstudio.prediction_writer import Written
from ml_backend.labelstudio.projects import ProjectFacts
from ml_backend.records import Annotation, ChoiceControl, ProjectSettings, QueueEntry, Task

LABEL_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Choices name="kind" toName="image" choice="single">
    <Choice value="cat"/><Choice value="dog" alias="hound"/><Choice value="bird"/>
  </Choices>
</View>"""
FIRST_SETTINGS = ProjectSettings("Sequential sampling", "", True, False)


@dataclass
class Prediction:
    task_id: int
    version: str
    score: float
    choice: str | None
    confidence: float | None


@dataclass
class FakeLabelStudio:
    """One project. `failure` is raised by every call while it is set, as an outage would."""

    project_id: int = 1
    label_config: str = LABEL_CONFIG
    overlap: int = 1
    page_size: int = 1000
    settings: ProjectSettings = FIRST_SETTINGS
    task_table: dict[int, Task] = field(default_factory=dict)
    annotation_table: dict[int, Annotation] = field(default_factory=dict)
    predictions: list[Prediction] = field(default_factory=list)
    updated_at: dict[int, datetime] = field(default_factory=dict)
    overlaps: dict[int, int] = field(default_factory=dict)  # of tasks that have one of their own
    miscounted: set[int] = field(default_factory=set)  # their annotations are there, uncounted
    failure: LabelStudioError | None = None
    deleted: bool = False
    _last_id: int = 0
    _clock: datetime = datetime(2030, 1, 1, tzinfo=UTC)

    # --- what people do in Label Studio

    def add_tasks(self, n: int) -> list[int]:
        """Import n tasks; return their ids."""
        made = [self._next_id() for _ in range(n)]
        for task_id in made:
            self.task_table[task_id] = Task(task_id, f"http://images.invalid/{task_id}.png")
            self._touch(task_id)
        return made

    def annotate(
        self,
        task_id: int,
        choice: str | None,
        *,
        skip: bool = False,
        ground_truth: bool = False,
        annotator_id: int = 1,
    ) -> int:
        """Annotate or skip a task; return the annotation's id."""
        made = self._next_id()
        self.annotation_table[made] = Annotation(
            made, task_id, annotator_id, None if skip else choice, skip, ground_truth
        )
        self._touch(task_id)
        return made

    def update_annotation(self, annotation_id: int, choice: str) -> None:
        found = self.annotation_table[annotation_id]
        self.annotation_table[annotation_id] = replace(found, choice=choice)
        self._touch(found.task_id)

    def delete_annotation(self, annotation_id: int) -> None:
        self._touch(self.annotation_table.pop(annotation_id).task_id)

    def delete_task(self, task_id: int) -> None:
        del self.task_table[task_id]
        self.annotation_table = {
            key: each for key, each in self.annotation_table.items() if each.task_id != task_id
        }
        self.predictions = [each for each in self.predictions if each.task_id != task_id]

    def miscount(self, task_id: int) -> None:
        """Lose a task's counter, as a recount does beside which somebody annotates."""
        self.miscounted.add(task_id)

    def now(self) -> datetime:
        """The server's time. It moves with every change."""
        return self._clock

    def let_pass(self, time: timedelta) -> None:
        """Let time pass without a change."""
        self._clock += time

    def next_task(self) -> int | None:
        """The task that the next annotator gets; None when all is labeled or order is random."""
        served = self.served_order(1)
        return served[0] if served else None

    # --- ProjectReader

    def facts(self) -> ProjectFacts:
        self._available()
        skips = sum(each.was_cancelled for each in self.annotation_table.values())
        return ProjectFacts(
            project_id=self.project_id,
            title="a fake project",
            label_config=self.label_config,
            settings=self.settings,
            overlap=self.overlap,
            task_count=len(self.task_table),
            finished_count=sum(map(self._finished, self.task_table)),
            annotation_count=len(self.annotation_table) - skips,
            skip_count=skips,
        )

    def tasks(self, control: ChoiceControl, after: int = 0) -> Iterator[list[Task]]:
        self._available()
        for page in self._pages([each for each in self.task_table if each > after]):
            yield [self.task_table[task_id] for task_id in page]

    def task_ids(self) -> Iterator[list[int]]:
        self._available()
        yield from self._pages(self.task_table)

    def task(self, task_id: int, control: ChoiceControl) -> tuple[Task, list[Annotation]] | None:
        self._available()
        if task_id not in self.task_table:
            return None
        return self.task_table[task_id], self._annotations([task_id])

    def tasks_of(
        self, task_ids: Sequence[int], control: ChoiceControl
    ) -> Iterator[tuple[list[Task], list[Annotation]]]:
        self._available()
        found = sorted(set(task_ids) & self.task_table.keys())
        for start in range(0, len(found), 100):
            page = found[start : start + 100]
            yield [self.task_table[each] for each in page], self._annotations(page)

    def annotated(self, control: ChoiceControl) -> Iterator[tuple[list[int], list[Annotation]]]:
        self._available()
        for skipped in (False, True):
            some = {
                each.task_id
                for each in self.annotation_table.values()
                if each.was_cancelled == skipped and each.task_id not in self.miscounted
            }
            for page in self._pages(some):
                yield page, self._annotations(page)

    def changed_since(
        self, since: datetime, control: ChoiceControl
    ) -> Iterator[tuple[list[Task], list[Annotation]]]:
        self._available()
        touched = [each for each in self.task_table if self.updated_at[each] > since]
        for page in self._pages(touched):
            yield [self.task_table[each] for each in page], self._annotations(page)

    def exists(self) -> bool:
        try:
            self._available()
        except LabelStudioNotFound:
            return False
        return True

    # --- LabelingQueue (its `settings()` is `queue.settings()`: see FakeQueue)

    def served_order(self, limit: int) -> list[int]:
        self._available()
        current = [each for each in self.predictions if each.version == self.settings.model_version]
        order = [each.task_id for each in sorted(current, key=lambda each: each.score)]
        return [task_id for task_id in order if not self._finished(task_id)][:limit]

    # --- inside

    def _available(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.deleted:
            raise LabelStudioNotFound(f"project {self.project_id}: 404")

    def _finished(self, task_id: int) -> bool:
        answers = [
            each
            for each in self.annotation_table.values()
            if each.task_id == task_id and not each.was_cancelled
        ]
        annotators = {each.annotator_id for each in answers}
        return len(annotators) >= self.overlaps.get(task_id, self.overlap)

    def _annotations(self, task_ids: Sequence[int]) -> list[Annotation]:
        wanted = set(task_ids)
        return [each for each in self.annotation_table.values() if each.task_id in wanted]

    def _pages(self, task_ids: object) -> Iterator[list[int]]:
        ordered = sorted(task_ids)  # type: ignore[call-overload]
        for start in range(0, len(ordered), self.page_size):
            yield ordered[start : start + self.page_size]

    def _touch(self, task_id: int) -> None:
        self._clock += timedelta(seconds=1)
        self.updated_at[task_id] = self._clock

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


@dataclass
class FakeFinishedTasks:
    """Opens and closes finished tasks of a FakeLabelStudio."""

    server: FakeLabelStudio

    def look(self, task_ids: Sequence[int]) -> dict[int, TaskState]:
        self.server._available()
        return {each: self._state(each) for each in task_ids if each in self.server.task_table}

    def reopen(self, task_id: int, overlap: int) -> None:
        self.server._available()
        if task_id not in self.server.task_table:
            raise LabelStudioNotFound(f"task {task_id}: 404")
        self.server.overlaps[task_id] = overlap
        self.server._touch(task_id)

    def put_back(self, task_id: int, overlap: int) -> None:
        if task_id in self.look([task_id]):
            self.reopen(task_id, overlap)

    def _state(self, task_id: int) -> TaskState:
        given = self.server._annotations([task_id])
        skips = sum(each.was_cancelled for each in given)
        overlap = self.server.overlaps.get(task_id, self.server.overlap)
        return TaskState(overlap, self.server._finished(task_id), len(given) - skips, skips)


class FakeQueue:
    """The labeling queue of a FakeLabelStudio."""

    def __init__(
        self, server: FakeLabelStudio, classes: Sequence[str], rows_at_once: int | None = None
    ) -> None:
        """`rows_at_once`: from how many rows on one import is cheaper; None: never."""
        self.server = server
        self.rows_at_once = rows_at_once
        self._classes = classes
        self.finished = FakeFinishedTasks(server)

    def write(self, entries: Sequence[QueueEntry], version: str) -> Written:
        self.server._available()
        if len({entry.task_id for entry in entries}) != len(entries):
            raise ValueError("a task is given more than one place in the queue")
        unknown = {entry.choice for entry in entries} - {None, *self._classes}
        if unknown:
            raise ValueError(f"choices that the labeling config does not have: {unknown}")
        present = [entry for entry in entries if entry.task_id in self.server.task_table]
        self.server.predictions += [
            Prediction(
                each.task_id,
                version,
                score_of(each.place, each.pool_size),
                each.choice,
                each.confidence,
            )
            for each in present
        ]
        written = tuple(each.task_id for each in present)
        asked = {entry.task_id for entry in entries}
        return Written(written, tuple(sorted(asked - set(written))))

    def flip(self, version: str) -> None:
        self.server._available()
        if version not in self.versions():
            raise PublishMismatch(f"there is no prediction of {version!r}")
        self.server.settings = replace(
            self.server.settings, sampling=UNCERTAINTY_SAMPLING, model_version=version
        )

    def settings(self) -> ProjectSettings:
        self.server._available()
        return self.server.settings

    def restore(self, settings: ProjectSettings) -> tuple[str, ...]:
        self.server._available()
        version = settings.model_version
        if version and version not in self.versions():
            self.server.settings = replace(settings, model_version="")
            return (f"model_version was {version!r}, which Label Studio no longer knows",)
        self.server.settings = settings
        return ()

    def versions(self) -> dict[str, int]:
        self.server._available()
        names = [each.version for each in self.server.predictions]
        return {name: names.count(name) for name in names}

    def delete(self, version: str, at_most: int | None = None, spare: Collection[int] = ()) -> int:
        self.server._available()
        if version == self.server.settings.model_version:
            raise PublishMismatch(f"{version!r} is what is served")
        if at_most is None:
            spare = ()
        found = [
            each
            for each in self.server.predictions
            if each.version == version and each.task_id not in spare
        ][:at_most]
        self.server.predictions = [
            each for each in self.server.predictions if not any(each is one for one in found)
        ]
        return len(found)

    def writes_at_once(self, n_rows: int) -> bool:
        return self.rows_at_once is not None and n_rows >= self.rows_at_once

    def served_order(self, limit: int) -> list[int]:
        return self.server.served_order(limit)

    def unserved(self) -> int:
        return len(self.server.served_order(len(self.server.task_table)))

    def written(self, version: str) -> list[int]:
        self.server._available()
        return sorted(each.task_id for each in self.server.predictions if each.version == version)
