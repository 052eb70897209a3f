"""Another Label Studio project as a data source: its images, and what people answered as labels.

Reads through `labelstudio`, whose rules for tokens and addresses hold here as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from ml_backend.errors import ImageUnreadable
from ml_backend.labelstudio.annotations import Verdict, consensus
from ml_backend.labelstudio.images import ImageReader
from ml_backend.labelstudio.projects import ProjectReader
from ml_backend.records import ChoiceControl, Task
from ml_backend.sources import Problems, SourceItem
from ml_backend.sources.item import within

EVERYTHING = datetime(1970, 1, 2, tzinfo=UTC)
# Addresses that mean the same wherever they are read from; uploads and local files do not.
ANYWHERE = ("http://", "https://", "s3://", "gs://", "azure-blob://")
UNLABELED, NO_IMAGE = "unlabeled", "no image"  # beside `Verdict.status`


class ProjectSource:
    """The tasks of a project, in order of their ids. Where people disagree there is no label.

    `left_out` counts the tasks without a label by reason (`Verdict.status`, or one of the two
    above), as the last pass over `items` found them.
    """

    def __init__(self, reader: ProjectReader, images: ImageReader, control: ChoiceControl) -> None:
        self.problems = Problems()
        self.left_out: Counter[str] = Counter()
        self._reader, self._images, self._control = reader, images, control

    def items(self) -> Iterator[SourceItem]:
        """Stream the tasks, a page at a time."""
        self.problems.clear()
        self.left_out.clear()
        for tasks, answers in self._reader.changed_since(EVERYTHING, self._control):
            verdicts = consensus(answers, self._control.classes)
            for task in tasks:
                if task.image_uri:
                    yield self._item(task, verdicts.get(task.task_id))
                else:
                    self.left_out[NO_IMAGE] += 1
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

    def _item(self, task: Task, verdict: Verdict | None) -> SourceItem:
        label = verdict.choice if verdict else None
        if label is None:
            self.left_out[verdict.status if verdict else UNLABELED] += 1
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
