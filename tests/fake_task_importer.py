"""Imports into a Label Studio in memory, with the troubles that an import must survive.

`tests/contract` runs the same tests against this and against a real server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_backend.errors import LabelStudioError, LabelStudioUnreachable
from ml_backend.labelstudio.task_importer import NewTask
from ml_backend.records import Task
from tests.fake_label_studio import FakeLabelStudio


class FakeTaskImporter:
    """Imports into a FakeLabelStudio.

    Each of `troubles` befalls one call of `send`: "lost request", "lost answer", "refused", or a
    number of later `find`s before which the tasks of a lost answer do not show.
    """

    def __init__(self, server: FakeLabelStudio) -> None:
        self.server = server
        self.troubles: list[str | int] = []
        self.sent: dict[int, NewTask] = {}
        self.uploads: list[tuple[str, bytes]] = []
        self.offered: list[Path] = []
        self.made_at = "2030-01-01T00:00:00Z"
        self._late: list[tuple[int, Sequence[NewTask]]] = []

    def created_at(self) -> str:
        self.server._available()
        return self.made_at

    def newest_task_id(self) -> int:
        self.server._available()
        return max(self.server.task_table, default=0)

    def send(self, tasks: Sequence[NewTask]) -> dict[str, int]:
        self.server._available()
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble == "refused":
            raise LabelStudioError("400: the task has no $text")
        if isinstance(trouble, int):
            self._late.append((trouble, tasks))
        elif trouble != "lost request":
            made = self._make(tasks)
        if trouble is not None:
            raise LabelStudioUnreachable("ReadTimeout")
        return made

    def find(self, hashes: Sequence[str], after: int) -> dict[str, int]:
        self.server._available()
        self._late = [(left - 1, tasks) for left, tasks in self._late]
        for left, tasks in self._late:
            if left == 0:
                self._make(tasks)
        return {
            task.content_hash: task_id
            for task_id, task in self.sent.items()
            if task_id > after and task.content_hash in hashes and task_id in self.server.task_table
        }

    def upload(self, files: Sequence[tuple[str, bytes]]) -> list[str]:
        self.server._available()
        self.uploads += files
        return [f"/data/upload/1/{len(self.uploads)}-{name}" for name, _ in files]

    def offer_local_files(self, paths: Sequence[Path], document_root: Path) -> None:
        self.offered += paths

    def _make(self, tasks: Sequence[NewTask]) -> dict[str, int]:
        made = {}
        for task in tasks:
            [task_id] = self.server.add_tasks(1)
            self.server.task_table[task_id] = Task(task_id, task.image_uri)
            self.sent[task_id] = task
            made[task.content_hash] = task_id
            if task.label is not None:
                self.server.annotate(task_id, task.label)
        return made
