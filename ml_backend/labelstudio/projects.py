"""Read one project: its settings, tasks and annotations.

Every read is cheap and leaves nothing behind: no export, no lock, no call to a model, and neither
drafts nor predictions come along. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ml_backend.errors import LabelStudioNotFound
from ml_backend.labelstudio.annotations import read_annotation
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.task_lists import (
    ANNOTATION_FIELDS,
    TASK_FIELDS,
    TASKS_PER_PAGE,
    TaskLists,
    where,
)
from ml_backend.records import Annotation, ChoiceControl, ProjectSettings, Task

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"  # the one that Label Studio's filters parse
WITH_ANNOTATIONS = f"{TASK_FIELDS},{ANNOTATION_FIELDS}"


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """A project's settings and counters, as Label Studio has them now."""

    project_id: int
    title: str
    label_config: str
    settings: ProjectSettings
    overlap: int  # annotations wanted per task
    task_count: int
    finished_count: int
    annotation_count: int  # skips not counted
    skip_count: int


class ProjectReader:
    """Reads one project. Pages are in order of task id and never miss a task that stays."""

    def __init__(
        self, client: LabelStudioClient, project_id: int, page_size: int = TASKS_PER_PAGE
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._lists = TaskLists(client, project_id, page_size)

    def facts(self) -> ProjectFacts:
        """Read settings and counters. Raises LabelStudioNotFound where there is no project."""
        raw = self._client.get(f"/api/projects/{self._project_id}/")
        return ProjectFacts(
            project_id=self._project_id,
            title=raw["title"],
            label_config=raw["label_config"],
            settings=read_settings(raw),
            overlap=raw["maximum_annotations"],
            task_count=raw["task_number"],
            finished_count=raw["finished_task_number"],
            annotation_count=raw["total_annotations_number"],
            skip_count=raw["skipped_annotations_number"],
        )

    def tasks(self, control: ChoiceControl, after: int = 0) -> Iterator[list[Task]]:
        """Yield pages of all tasks whose id is above `after`."""
        for page in self._lists.pages(include=TASK_FIELDS, after=after):
            yield [read_task(raw, control) for raw in page]

    def task_ids(self) -> Iterator[list[int]]:
        """Yield pages of the ids of all tasks: what is not among them has been deleted."""
        for page in self._lists.pages(include="id"):
            yield [raw["id"] for raw in page]

    def task(self, task_id: int, control: ChoiceControl) -> tuple[Task, list[Annotation]] | None:
        """Read one task with its annotations; None where the project has no such task."""
        for tasks, its_annotations in self.tasks_of([task_id], control):
            if tasks:
                return tasks[0], its_annotations
        return None

    def tasks_of(
        self, task_ids: Sequence[int], control: ChoiceControl
    ) -> Iterator[tuple[list[Task], list[Annotation]]]:
        """Yield those of `task_ids` that exist, with their annotations, up to 100 at a time."""
        for page in self._lists.of_ids(task_ids, include=WITH_ANNOTATIONS, nested=True):
            yield _tasks_of(page, control), _annotations_of(page, control)

    def annotated(self, control: ChoiceControl) -> Iterator[tuple[list[int], list[Annotation]]]:
        """Yield pages of all annotated or skipped tasks: their ids, and all their annotations.

        A task with both annotations and skips comes twice, whole each time.
        """
        for column in ("total_annotations", "cancelled_annotations"):
            some = where(column, "greater", "Number", 0)
            for page in self._lists.pages([some], include=ANNOTATION_FIELDS, nested=True):
                yield [raw["id"] for raw in page], _annotations_of(page, control)

    def changed_since(
        self, since: datetime, control: ChoiceControl
    ) -> Iterator[tuple[list[Task], list[Annotation]]]:
        """Yield pages of the tasks that were touched after `since`, with their annotations.

        Found by the task's `updated_at`. It moves when a task is made or edited, when an
        annotation is made, edited or deleted, and with our own single predictions, so some come
        in vain. It does not move when a task is deleted or annotations are propagated to other
        tasks: compare the counters of `facts` afterwards.
        """
        moment = since.astimezone(UTC).strftime(TIME_FORMAT)
        touched = where("updated_at", "greater", "Datetime", moment)
        for page in self._lists.pages([touched], include=WITH_ANNOTATIONS, nested=True):
            yield _tasks_of(page, control), _annotations_of(page, control)

    def exists(self) -> bool:
        """Say whether the project is still there."""
        try:
            self._client.get(f"/api/projects/{self._project_id}/", {"include": "id"})
        except LabelStudioNotFound:
            return False
        return True


def read_settings(raw: dict[str, Any]) -> ProjectSettings:
    """Pick the settings that we change out of Label Studio's project."""
    return ProjectSettings(
        sampling=raw["sampling"] or "",
        model_version=raw["model_version"] or "",
        show_collab_predictions=raw["show_collab_predictions"],
        evaluate_predictions_automatically=raw["evaluate_predictions_automatically"],
    )


def read_task(raw: dict[str, Any], control: ChoiceControl) -> Task:
    """Turn Label Studio's task into ours; anything but a text is no image address."""
    uri = raw["data"].get(control.image_field)
    return Task(raw["id"], uri if isinstance(uri, str) else "")


def _tasks_of(page: list[dict[str, Any]], control: ChoiceControl) -> list[Task]:
    return [read_task(raw, control) for raw in page]


def _annotations_of(page: list[dict[str, Any]], control: ChoiceControl) -> list[Annotation]:
    return [
        read_annotation(annotation, control, raw["id"])
        for raw in page
        for annotation in raw["annotations"]
    ]
