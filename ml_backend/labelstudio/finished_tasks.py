"""Finished tasks that are to be answered once more, by somebody else.

Label Studio serves no task whose `is_labeled` is set, and gives nobody a task that they annotated
already. Both fields that decide it, `overlap` and `is_labeled`, can be written at the task itself:
with an overlap above its annotations a task is unfinished again, and the next annotator's answer
finishes it. Label Studio does not work `is_labeled` out anew when the overlap alone is changed, so
both are written together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ml_backend.errors import LabelStudioNotFound, PublishMismatch
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.task_lists import TaskLists

FIELDS = "id,overlap,is_labeled,total_annotations,cancelled_annotations"


@dataclass(frozen=True, slots=True)
class TaskState:
    """How far a task is, as Label Studio sees it."""

    overlap: int  # annotations wanted
    is_labeled: bool  # has them, and is served to nobody
    answers: int  # annotations that are not skips
    skips: int


class FinishedTasks:
    """Opens finished tasks of one project again, and closes them as they were."""

    def __init__(self, client: LabelStudioClient, project_id: int) -> None:
        self._client = client
        self._lists = TaskLists(client, project_id)

    def look(self, task_ids: Sequence[int]) -> dict[int, TaskState]:
        """Read those of `task_ids` that exist."""
        return {
            raw["id"]: _state(raw)
            for page in self._lists.of_ids(task_ids, include=FIELDS)
            for raw in page
        }

    def reopen(self, task_id: int, overlap: int) -> None:
        """Have a task served again until it has `overlap` annotations.

        Raises LabelStudioNotFound, and PublishMismatch where Label Studio does not keep it.
        """
        self._change(task_id, overlap=overlap, is_labeled=False)

    def put_back(self, task_id: int, overlap: int) -> None:
        """Want as many annotations as before. A task that is gone needs nothing."""
        state = self.look([task_id]).get(task_id)
        if state is None:
            return
        try:
            self._change(task_id, overlap=overlap, is_labeled=state.answers >= overlap)
        except LabelStudioNotFound:  # deleted between the two calls
            return

    def _change(self, task_id: int, **wanted: Any) -> None:
        kept = self._client.patch(f"/api/tasks/{task_id}/", wanted)
        if any(kept.get(name) != value for name, value in wanted.items()):
            raise PublishMismatch(f"task {task_id} was given {wanted} and does not keep it")


def _state(raw: dict[str, Any]) -> TaskState:
    return TaskState(
        overlap=raw["overlap"],
        is_labeled=raw["is_labeled"],
        answers=raw["total_annotations"],
        skips=raw["cancelled_annotations"],
    )
