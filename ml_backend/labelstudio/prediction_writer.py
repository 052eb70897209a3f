"""Write predictions into a project, one by one or as imports, whichever is cheaper there.

Knows rows as Label Studio takes them; not what their scores or versions mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_backend.errors import LabelStudioError, PublishMismatch
from ml_backend.labelstudio.client import LabelStudioClient, Reply, reasons
from ml_backend.labelstudio.task_lists import TaskLists

if TYPE_CHECKING:
    from label_studio_sdk.types.prediction_request import PredictionRequest

# One import call checks and stores this many rows, or none, where the server has the efficient
# import; the ordinary one is all or nothing at any size.
ROWS_PER_EFFICIENT_CALL = 500
ROWS_PER_CALL = 5000
# The ordinary import recounts the whole project. Measured on SQLite, in time of one single write
# (25 ms): a row for every 500 tasks, and one for every 25 that have annotations or predictions.
TASKS_PER_ROW = 500
TOUCHED_PER_ROW = 25
COUNTS = "task_number,num_tasks_with_annotations,total_predictions_number"
REFUSED, NO_REFUSAL = frozenset({400}), frozenset[int]()


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to. `missing` were deleted from Label Studio in the meantime."""

    task_ids: tuple[int, ...]
    missing: tuple[int, ...] = ()


class PredictionWriter:
    """Writes predictions of one project. What a write costs is asked once: keep it for a round."""

    def __init__(self, client: LabelStudioClient, project_id: int) -> None:
        self._client = client
        self._project_id = project_id
        self._lists = TaskLists(client, project_id)
        self._efficient: bool | None = None
        self._import_cost: float | None = None  # of an ordinary import, in single writes

    def write(self, rows: Sequence[dict[str, Any]]) -> Written:
        """Write rows of distinct tasks. Raises PublishMismatch where others were stored."""
        if not rows:
            return Written(())
        at_once = self.at_once(len(rows))
        if self._import_cost is not None:  # what is written now, the next import recounts
            self._import_cost += len(rows) / TOUCHED_PER_ROW
        if not at_once:
            return self._write_singly(rows)
        size = ROWS_PER_EFFICIENT_CALL if self._has_efficient_import() else ROWS_PER_CALL
        return self._write_in_calls(rows, size)

    def at_once(self, n_rows: int) -> bool:
        """Say whether this many rows go as one import, which is cheaper than single writes.

        Single writes are a call for each row, between which others' writes get in.
        """
        return self._has_efficient_import() or self._import_pays(n_rows)

    def _has_efficient_import(self) -> bool:
        """Say whether the server's bulk import has a cost that does not grow with the project.

        Asked by an import that both refuse, each in its own words; nothing is stored. The list of
        feature flags would tell, too, but answers to a browser's session alone.
        """
        if self._efficient is None:
            nobody = {"task": 0, "result": [], "score": 0.0, "model_version": "none"}
            self._efficient = "not found in project" in reasons(self._import([nobody]).body)
        return self._efficient

    def _import_pays(self, rows: int) -> bool:
        """Say whether one ordinary import costs less than writing rows one by one."""
        if self._import_cost is None:
            self._import_cost = _cost_of_import(self._counts())
        return self._import_cost <= rows

    def _counts(self) -> dict[str, int]:
        found = self._client.read(
            f"counting project {self._project_id}",
            lambda sdk, options: sdk.projects.with_raw_response.list_counts(
                ids=str(self._project_id), include=COUNTS, request_options=options
            ),
        )
        return dict(found["results"][0])

    def _write_in_calls(self, rows: Sequence[dict[str, Any]], size: int) -> Written:
        parts = [self._write_at_once(rows[at : at + size]) for at in range(0, len(rows), size)]
        return Written(
            tuple(task_id for part in parts for task_id in part.task_ids),
            tuple(task_id for part in parts for task_id in part.missing),
        )

    def _write_at_once(self, rows: Sequence[dict[str, Any]]) -> Written:
        reply = self._import(rows)
        missing: set[int] = set()
        if reply.status == 400:
            missing = self._missing(rows)
            rows = [row for row in rows if row["task"] not in missing]
            if not rows:
                return Written((), tuple(sorted(missing)))
            # A second refusal is raised: tasks do not vanish that fast.
            reply = self._import(rows, NO_REFUSAL)
        created = reply.body["created"]
        if created != len(rows):
            raise PublishMismatch(
                f"{len(rows)} predictions were sent to project {self._project_id} and {created} "
                "were stored: Label Studio drops what does not fit the labeling config"
            )
        return Written(tuple(row["task"] for row in rows), tuple(sorted(missing)))

    def _import(self, rows: Sequence[dict[str, Any]], accept: frozenset[int] = REFUSED) -> Reply:
        """Import rows: all of them, or none where Label Studio refuses one."""
        return self._client.call(
            f"importing predictions into project {self._project_id}",
            lambda sdk, options: sdk.projects.with_raw_response.import_predictions(
                self._project_id, request=_requests(rows), request_options=options
            ),
            accept,
        )

    def _missing(self, rows: Sequence[dict[str, Any]]) -> set[int]:
        asked = [row["task"] for row in rows]
        found = {task["id"] for page in self._lists.of_ids(asked, include="id") for task in page}
        return set(asked) - found

    def _write_singly(self, rows: Sequence[dict[str, Any]]) -> Written:
        missing = [row["task"] for row in rows if not self._write_one(row)]
        gone = set(missing)
        return Written(
            tuple(row["task"] for row in rows if row["task"] not in gone), tuple(sorted(missing))
        )

    def _write_one(self, row: dict[str, Any]) -> bool:
        """Write one prediction; False where its task is gone."""
        reply = self._client.call(
            f"writing a prediction of task {row['task']}",
            lambda sdk, options: sdk.predictions.with_raw_response.create(
                **row, request_options=options
            ),
            REFUSED,
        )
        if reply.status == 400:
            if "task" in reply.body.get("validation_errors", {}):
                return False
            raise LabelStudioError(
                f"Label Studio refused a prediction of task {row['task']}: {reasons(reply.body)}"
            )
        stored = {key: reply.body[key] for key in row}
        if stored != row:
            raise PublishMismatch(f"{row} was sent and Label Studio stored {stored}")
        return True


def _cost_of_import(counts: Mapping[str, int]) -> float:
    """Return what one ordinary import costs, in single writes."""
    tasks = counts["task_number"]
    predicted = min(counts["total_predictions_number"], tasks)
    touched = counts["num_tasks_with_annotations"] + predicted
    return tasks / TASKS_PER_ROW + touched / TOUCHED_PER_ROW


def _requests(rows: Sequence[dict[str, Any]]) -> list[PredictionRequest]:
    from label_studio_sdk.types.prediction_request import PredictionRequest

    return [PredictionRequest(**row) for row in rows]
