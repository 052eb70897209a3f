"""Another Label Studio project as a data source: its images, and what people answered as labels.

Reads through `labelstudio`, whose rules for tokens and addresses hold here as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from ml_backend.errors import ImageUnreadable
from ml_backend.labelstudio.annotations import consensus
from ml_backend.labelstudio.images import ImageReader
from ml_backend.labelstudio.projects import ProjectReader
from ml_backend.records import Annotation, ChoiceControl, Task
from ml_backend.sources import Problems, SourceItem
from ml_backend.sources.item import within

EVERYTHING = datetime(1970, 1, 2, tzinfo=UTC)
# Addresses that mean the same wherever they are read from; uploads and local files do not.
ANYWHERE = ("http://", "https://", "s3://", "gs://", "azure-blob://")


class ProjectSource:
    """The tasks of a project, in order of their ids. Where people disagree there is no label."""

    def __init__(self, reader: ProjectReader, images: ImageReader, control: ChoiceControl) -> None:
        self.problems = Problems()
        self._reader, self._images, self._control = reader, images, control

    def items(self) -> Iterator[SourceItem]:
        """Stream the tasks, a page at a time."""
        self.problems.clear()
        for tasks, answers in self._reader.changed_since(EVERYTHING, self._control):
            labels = self._labels(answers)
            for task in tasks:
                if task.image_uri:
                    yield self._item(task, labels.get(task.task_id))
                else:
                    self.problems.note(f"task {task.task_id}", "has no image")

    def count(self) -> int | None:
        """Return how many tasks there are."""
        return self._reader.facts().task_count

    def describe(self) -> str:
        """Say what was taken for what."""
        facts = self._reader.facts()
        return (
            f"Label Studio's project {facts.project_id} ({facts.title}), images from "
            f"{self._control.image_field!r}, labels from {self._control.from_name!r}"
        )

    def _labels(self, answers: list[Annotation]) -> dict[int, str | None]:
        verdicts = consensus(answers, self._control.classes)
        return {task_id: verdict.choice for task_id, verdict in verdicts.items()}

    def _item(self, task: Task, label: str | None) -> SourceItem:
        anywhere = task.image_uri.lower().startswith(ANYWHERE)
        return SourceItem(
            key=f"task-{task.task_id}",
            uri=task.image_uri if anywhere else None,
            label=label,
            fetch=partial(self._read, task),
        )

    def _read(self, task: Task, max_bytes: int) -> bytes:
        content = self._images.read(task.task_id, task.image_uri)
        if not content:
            raise ImageUnreadable("the file is empty")
        return within(content, max_bytes)
