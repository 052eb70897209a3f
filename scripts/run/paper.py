"""A project on paper: tasks, annotations and a queue, without a Label Studio.

It answers rounds as `labelstudio.projects.ProjectReader`, `LabelingQueue` and `ImageReader` do, as
far as a run alone with its oracle asks. Annotations are kept in the store's mirror and nowhere
else. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from ml_backend.errors import ImageUnreadable
from ml_backend.jobs.store import Store
from ml_backend.labelstudio.images import ImageReader
from ml_backend.labelstudio.labeling_queue import UNCERTAINTY_SAMPLING, LabelingQueue
from ml_backend.labelstudio.prediction_writer import Written
from ml_backend.labelstudio.projects import ProjectFacts, ProjectReader
from ml_backend.records import Annotation, ChoiceControl, ProjectSettings, QueueEntry, Task
from ml_backend.sources import SourceItem
from ml_backend.steps.workbench import Side

PROJECT_ID = 1
ADDRESS = "http://offline.invalid"  # of no Label Studio
ORACLE_ID = 1
NOBODYS = ProjectSettings("", "", False, False)


@dataclass
class PaperProject:
    """One project. `items` are its tasks' images by task id."""

    store: Store
    title: str
    label_config: str
    items: Mapping[int, SourceItem]
    max_bytes: int
    _settings: ProjectSettings = NOBODYS
    _written: dict[str, list[int]] = field(default_factory=dict)  # by version, wanted first
    _annotations: dict[int, Annotation] = field(init=False)  # the mirror's, by task id

    def __post_init__(self) -> None:
        """Go on from the annotations of an earlier start."""
        kept = self.store.mirror(PROJECT_ID).annotations
        self._annotations = {each.task_id: each for each in kept}

    def side(self) -> Side:
        """Return what a round works with."""
        return Side(
            reader=cast(ProjectReader, self),
            queue=cast(LabelingQueue, PaperQueue(self)),
            images=cast(ImageReader, self),
        )

    def annotate(self, labels: Mapping[int, str]) -> None:
        """Label tasks, in one transaction."""
        annotations = [
            Annotation(task_id, task_id, ORACLE_ID, choice) for task_id, choice in labels.items()
        ]
        self.store.replace_annotations(PROJECT_ID, labels.keys(), annotations)
        self._annotations.update({each.task_id: each for each in annotations})

    @property
    def labeled(self) -> int:
        """How many tasks have an annotation."""
        return len(self._annotations)

    def is_labeled(self, task_id: int) -> bool:
        """Tell whether a task has an annotation."""
        return task_id in self._annotations

    def choices(self) -> list[str]:
        """Return the class of each annotation."""
        return [str(each.choice) for each in self._annotations.values()]

    def unlabeled(self) -> list[int]:
        """Return the tasks that the queue serves now, wanted first."""
        served = self._written.get(self._settings.model_version, [])
        return [task_id for task_id in served if task_id not in self._annotations]

    # --- as a ProjectReader

    def facts(self) -> ProjectFacts:
        """Answer as if everybody's annotations had just been counted."""
        return ProjectFacts(
            project_id=PROJECT_ID,
            title=self.title,
            label_config=self.label_config,
            settings=self._settings,
            overlap=1,
            task_count=len(self.items),
            finished_count=self.labeled,
            annotation_count=self.labeled,
            skip_count=0,
        )

    def tasks(self, _control: ChoiceControl, after: int = 0) -> Iterator[list[Task]]:
        """Yield all tasks; an image's address is its key in the source."""
        yield [Task(key, item.key) for key, item in self.items.items() if key > after]

    def tasks_of(
        self, task_ids: Sequence[int], _control: ChoiceControl
    ) -> Iterator[tuple[list[Task], list[Annotation]]]:
        """Yield those of `task_ids` that exist, with their annotations."""
        found = [task_id for task_id in task_ids if task_id in self.items]
        answers = [self._annotations[each] for each in found if each in self._annotations]
        yield [Task(each, self.items[each].key) for each in found], answers

    def annotated(self, _control: ChoiceControl) -> Iterator[tuple[list[int], list[Annotation]]]:
        """Yield what the mirror has: it is the only place where annotations are kept."""
        yield list(self._annotations), list(self._annotations.values())

    # --- as an ImageReader

    def read(self, task_id: int, uri: str) -> bytes:
        """Return an image's bytes. Raises ImageUnreadable."""
        item = self.items.get(task_id)
        if item is None or item.key != uri:
            raise ImageUnreadable(f"{uri}: it is no longer in the data source")
        return item.read_bytes(self.max_bytes)


class PaperQueue:
    """The labeling queue of a PaperProject."""

    def __init__(self, project: PaperProject) -> None:
        self._project = project

    def write(self, entries: Sequence[QueueEntry], version: str) -> Written:
        """Append tasks to a version, which are wanted in this order."""
        task_ids = [entry.task_id for entry in entries]
        self._project._written.setdefault(version, []).extend(task_ids)
        return Written(tuple(task_ids), ())

    def flip(self, version: str) -> None:
        """Serve this version."""
        project = self._project
        project._settings = replace(
            project._settings, sampling=UNCERTAINTY_SAMPLING, model_version=version
        )

    def settings(self) -> ProjectSettings:
        """Return what is served."""
        return self._project._settings

    def versions(self) -> dict[str, int]:
        """Count each version's tasks."""
        return {version: len(tasks) for version, tasks in self._project._written.items()}

    def delete(self, version: str, at_most: int | None = None) -> int:  # noqa: ARG002 - at once
        """Forget a version."""
        return len(self._project._written.pop(version, []))

    def writes_at_once(self, n_rows: int) -> bool:  # noqa: ARG002 - paper is patient
        """Say that one write of everything is the quickest."""
        return True

    def served_order(self, limit: int) -> list[int]:
        """Return the first tasks that are served."""
        return self._project.unlabeled()[:limit]
