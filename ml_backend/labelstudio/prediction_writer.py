"""Write predictions into a project, one by one or as imports, whichever is cheaper there.

Knows rows as Label Studio takes them; not what their scores or versions mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
# The ordinary import recounts the whole project: so long at all, for each task, and for each that
# has annotations or predictions. Measured on SQLite, as is a single write; where a disk is slow to
# sync, single writes cost ten times as much and an import hardly more, so both are corrected by
# what they turn out to cost.
IMPORT_S, TASK_S, TOUCHED_TASK_S = 50e-3, 0.05e-3, 1e-3
SINGLE_WRITE_S = 25e-3
NEWEST_SHARE = 0.5  # of a running mean
COUNTS = "task_number,num_tasks_with_annotations,total_predictions_number"
REFUSED, NO_REFUSAL = frozenset({400}), frozenset[int]()


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to. `missing` were deleted from Label Studio in the meantime."""

    task_ids: tuple[int, ...]
    missing: tuple[int, ...] = ()


class PredictionWriter:
    """Writes predictions of one project, and learns what that costs there: keep it a while."""

    def __init__(
        self,
        client: LabelStudioClient,
        project_id: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._lists = TaskLists(client, project_id)
        self._clock = clock
        self._efficient: bool | None = None
        self._counted: dict[str, int] | None = None
        self._written: set[int] = set()  # since the count
        self._single_write_s = SINGLE_WRITE_S
        self._import_factor = 1.0  # measured over expected

    def write(self, rows: Sequence[dict[str, Any]]) -> Written:
        """Write rows of distinct tasks. Raises PublishMismatch where others were stored."""
        if not rows:
            return Written(())
        if self._has_efficient_import():
            return self._write_in_calls(rows, ROWS_PER_EFFICIENT_CALL)
        at_once, expected_s, start = self.at_once(len(rows)), self._import_s(), self._clock()
        if at_once:
            written = self._write_in_calls(rows, ROWS_PER_CALL)
            measured = (self._clock() - start) / (expected_s / self._import_factor)
            self._import_factor += NEWEST_SHARE * (measured - self._import_factor)
        else:
            written = self._write_singly(rows)
            measured = (self._clock() - start) / len(rows)
            self._single_write_s += NEWEST_SHARE * (measured - self._single_write_s)
        self._written.update(written.task_ids)
        return written

    def at_once(self, n_rows: int) -> bool:
        """Say whether this many rows go as one import, which is cheaper than single writes.

        Single writes are a call for each row, between which others' writes get in.
        """
        return self._has_efficient_import() or self._import_s() <= n_rows * self._single_write_s

    def _has_efficient_import(self) -> bool:
        """Say whether the server's bulk import has a cost that does not grow with the project.

        Asked by an import that both refuse, each in its own words; nothing is stored. The list of
        feature flags would tell, too, but answers to a browser's session alone.
        """
        if self._efficient is None:
            nobody = {"task": 0, "result": [], "score": 0.0, "model_version": "none"}
            self._efficient = "not found in project" in reasons(self._import([nobody]).body)
        return self._efficient

    def _import_s(self) -> float:
        """Return what one ordinary import is expected to take, in seconds."""
        if self._counted is None:
            self._counted = self._counts()
        tasks = self._counted["task_number"]
        predicted = self._counted["total_predictions_number"] + len(self._written)
        touched = min(tasks, self._counted["num_tasks_with_annotations"] + predicted)
        return self._import_factor * (IMPORT_S + tasks * TASK_S + touched * TOUCHED_TASK_S)

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


def _requests(rows: Sequence[dict[str, Any]]) -> list[PredictionRequest]:
    from label_studio_sdk.types.prediction_request import PredictionRequest

    return [PredictionRequest(**row) for row in rows]
