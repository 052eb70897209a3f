"""The labeling queue: which task Label Studio serves next, and what it shows there.

With sampling "Uncertainty sampling" Label Studio serves the task with the lowest score among the
predictions whose model version is the project's current one. So a queue is written as predictions
of a new version, unseen by annotators, and then switched to in one call.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ml_backend.errors import LabelStudioError, PublishMismatch
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.projects import read_settings
from ml_backend.labelstudio.task_lists import TaskLists, where
from ml_backend.records import ChoiceControl, ProjectSettings, QueueEntry

log = logging.getLogger(__name__)

UNCERTAINTY_SAMPLING = "Uncertainty sampling"
SETTINGS_FIELDS = (
    "sampling,model_version,show_collab_predictions,evaluate_predictions_automatically"
)

# One import call checks and stores this many rows, or none, where the server has the efficient
# import; the ordinary one is all or nothing at any size.
ROWS_PER_EFFICIENT_CALL = 500
ROWS_PER_CALL = 5000
# The ordinary import recounts the whole project. Measured on SQLite, in time of one single write
# (25 ms): a row for every 500 tasks, and one for every 25 that have annotations or predictions.
TASKS_PER_ROW = 500
TOUCHED_PER_ROW = 25
DELETE_SLICE = 20
UNFINISHED = where("completed_at", "empty", "Datetime", value=True)
# Where no prediction of the current version exists, the score is null and passes no comparison.
QUEUED = where("predictions_score", "less", "Number", 2)


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to. `missing` were deleted from Label Studio in the meantime."""

    task_ids: tuple[int, ...]
    missing: tuple[int, ...] = ()


def score_of(place: int, pool_size: int) -> float:
    """Return the prediction score of a place in the queue: in [0, 1), wanted first = lowest.

    The one place where direction flips: everywhere else, higher means sooner.
    """
    if not 0 <= place < pool_size:
        raise ValueError(f"place {place} is not in a pool of {pool_size} tasks")
    return place / pool_size


class LabelingQueue:
    """The queue of one project."""

    def __init__(self, client: LabelStudioClient, project_id: int, control: ChoiceControl) -> None:
        self._client = client
        self._project_id = project_id
        self._control = control
        self._lists = TaskLists(client, project_id)
        self._path = f"/api/projects/{project_id}/"
        self._import_path = f"{self._path}import/predictions"
        self._efficient: bool | None = None  # asked at the first write

    def write(self, entries: Sequence[QueueEntry], version: str) -> Written:
        """Write entries under a version that Label Studio does not serve yet.

        Never write one version's task twice, and give each attempt a version of its own: after a
        timeout nobody knows what was stored. Raises PublishMismatch where Label Studio stored
        something else, ValueError for entries that cannot be meant.
        """
        self._check(entries)
        rows = [self._prediction(entry, version) for entry in entries]
        if not rows:
            return Written(())
        if self.has_efficient_import():
            return self._write_in_calls(rows, ROWS_PER_EFFICIENT_CALL)
        if self._import_pays(len(rows)):
            return self._write_in_calls(rows, ROWS_PER_CALL)
        return self._write_singly(rows)

    def flip(self, version: str) -> None:
        """Serve `version` from now on, in one call. Sets the sampling, too.

        Raises PublishMismatch where Label Studio holds no prediction of that version, or does not
        keep what it was told.
        """
        wanted = {"sampling": UNCERTAINTY_SAMPLING, "model_version": version}
        reply = self._client.send("PATCH", self._path, json=wanted, accept=frozenset({400}))
        if reply.status == 400:
            raise PublishMismatch(
                f"project {self._project_id} cannot serve {version!r}: {_words(reply.body)}"
            )
        settings = self.settings()
        if (settings.sampling, settings.model_version) != (UNCERTAINTY_SAMPLING, version):
            raise PublishMismatch(
                f"project {self._project_id} was switched to {version!r} and has "
                f"sampling={settings.sampling!r}, model_version={settings.model_version!r}"
            )

    def settings(self) -> ProjectSettings:
        """Read the project's settings that decide what is served."""
        return read_settings(self._client.get(self._path, {"include": SETTINGS_FIELDS}))

    def restore(self, settings: ProjectSettings) -> tuple[str, ...]:
        """Put settings back as they were; return a sentence for each that could not be.

        A former model version is refused once its predictions or backend are gone; none is set
        then. Restore before deleting versions, since the current one cannot be deleted.
        """
        # Apart, because switching show_collab_predictions off also empties model_version.
        self._client.patch(
            self._path,
            {
                "sampling": settings.sampling,
                "show_collab_predictions": settings.show_collab_predictions,
                "evaluate_predictions_automatically": settings.evaluate_predictions_automatically,
            },
        )
        version = {"model_version": settings.model_version}
        reply = self._client.send("PATCH", self._path, json=version, accept=frozenset({400}))
        if reply.status != 400:
            return ()
        self._client.patch(self._path, {"model_version": ""})
        return (
            f"model_version was {settings.model_version!r}, which Label Studio no longer knows; "
            "it is empty now",
        )

    def versions(self) -> dict[str, int]:
        """Count the project's predictions by model version."""
        counts = self._client.get(f"{self._path}model-versions/")
        return {str(version): int(count) for version, count in counts.items()}

    def delete(self, version: str, at_most: int | None = None) -> int:
        """Delete predictions of a version that is not served; return how many.

        With `at_most`, one short call for each prediction, so that annotators' writes get in
        between; without, all in one call, which is ten times as fast and keeps SQLite's writers
        waiting (3 ms a prediction). Raises PublishMismatch for the version that is served.
        """
        before = self.settings().model_version
        if before == version:
            raise PublishMismatch(
                f"{version!r} is what project {self._project_id} serves; switch away from it first"
            )
        if at_most is not None:
            return sum(self._delete_one(row) for row in islice(self._rows(version), at_most))
        reply = self._client.delete(f"{self._path}model-versions/", {"model_version": version})
        if self.settings().model_version != before:
            # Label Studio empties it where it names a backend, whatever version is deleted.
            self._client.patch(self._path, {"model_version": before})
        return int(reply["deleted_predictions"])

    def served_order(self, limit: int) -> list[int]:
        """Return the unfinished tasks of the current version in the order they would be served.

        A dry look: takes no lock. Locks and an annotator's own skips may still move one back.
        """
        tasks = self._lists.first(
            [UNFINISHED, QUEUED], order="tasks:predictions_score", limit=limit, include="id"
        )
        return [task["id"] for task in tasks]

    def unserved(self) -> int:
        """Return how many tasks of the current version are still to be labeled.

        At 0 Label Studio goes on at random.
        """
        return self._lists.count([UNFINISHED, QUEUED])

    def written(self, version: str) -> list[int]:
        """Return the tasks that have a prediction of `version`, by id.

        Raises PublishMismatch where Label Studio counts otherwise: a task was written twice, or
        the name is part of another version's.
        """
        tasks = [
            task["id"]
            for page in self._lists.pages([_of_version(version)], include="id")
            for task in page
        ]
        counted = self.versions().get(version, 0)
        if len(set(tasks)) != counted:
            raise PublishMismatch(
                f"{version!r} is found at {len(set(tasks))} tasks and counted {counted} times"
            )
        return sorted(set(tasks))

    def has_efficient_import(self) -> bool:
        """Say whether the server's bulk import has a cost that does not grow with the project.

        Asked by an import that both refuse, each in its own words; nothing is stored. The list of
        feature flags would tell, too, but answers to a browser's session alone.
        """
        if self._efficient is None:
            reply = self._client.send(
                "POST",
                self._import_path,
                json=[{"task": 0, "result": [], "score": 0.0, "model_version": "none"}],
                accept=frozenset({400}),
            )
            self._efficient = "not found in project" in _words(reply.body)
        return self._efficient

    def _check(self, entries: Sequence[QueueEntry]) -> None:
        if len({entry.task_id for entry in entries}) != len(entries):
            raise ValueError("a task is given more than one place in the queue")
        unknown = {entry.choice for entry in entries} - {None, *self._control.classes}
        if unknown:
            raise ValueError(f"choices that the labeling config does not have: {unknown}")

    def _prediction(self, entry: QueueEntry, version: str) -> dict[str, Any]:
        return {
            "task": entry.task_id,
            "result": prelabel(self._control, entry.choice, entry.confidence),
            "score": score_of(entry.place, entry.pool_size),
            "model_version": version,
        }

    def _import_pays(self, rows: int) -> bool:
        """Say whether one ordinary import costs less than writing rows one by one."""
        found = self._client.get("/api/projects/counts", {"ids": self._project_id})
        counts = found["results"][0]
        predicted = min(counts["total_predictions_number"], counts["task_number"])
        touched = counts["num_tasks_with_annotations"] + predicted
        return bool(counts["task_number"] / TASKS_PER_ROW + touched / TOUCHED_PER_ROW <= rows)

    def _write_in_calls(self, rows: Sequence[dict[str, Any]], size: int) -> Written:
        parts = [self._write_at_once(rows[at : at + size]) for at in range(0, len(rows), size)]
        return Written(
            tuple(task_id for part in parts for task_id in part.task_ids),
            tuple(task_id for part in parts for task_id in part.missing),
        )

    def _write_at_once(self, rows: Sequence[dict[str, Any]]) -> Written:
        reply = self._import(rows)
        missing: set[int] = set()
        if reply is None:
            missing = self._missing(rows)
            rows = [row for row in rows if row["task"] not in missing]
            # A second refusal is raised: tasks do not vanish that fast.
            reply = self._client.post(self._import_path, rows) if rows else {"created": 0}
        if reply["created"] != len(rows):
            raise PublishMismatch(
                f"{len(rows)} predictions were sent to project {self._project_id} and "
                f"{reply['created']} were stored: Label Studio drops what does not fit the "
                "labeling config"
            )
        return Written(tuple(row["task"] for row in rows), tuple(sorted(missing)))

    def _import(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """Import rows; None where Label Studio refused them all."""
        reply = self._client.send(
            "POST", self._import_path, json=list(rows), accept=frozenset({400})
        )
        return None if reply.status == 400 else dict(reply.body)

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
        reply = self._client.send("POST", "/api/predictions/", json=row, accept=frozenset({400}))
        if reply.status == 400:
            if "task" in reply.body.get("validation_errors", {}):
                return False
            raise LabelStudioError(
                f"Label Studio refused a prediction of task {row['task']}: {_words(reply.body)}"
            )
        stored = {key: reply.body[key] for key in row}
        if stored != row:
            raise PublishMismatch(f"{row} was sent and Label Studio stored {stored}")
        return True

    def _rows(self, version: str) -> Iterator[int]:
        """Yield the ids of the predictions of a version, looked up a few tasks at a time."""
        pages = TaskLists(self._client, self._project_id, page_size=DELETE_SLICE).pages(
            [_of_version(version)], include="id,predictions,model_version", nested=True
        )
        for page in pages:
            for task in page:
                for prediction in task["predictions"]:
                    if prediction["model_version"] == version:
                        yield prediction["id"]

    def _delete_one(self, prediction_id: int) -> int:
        reply = self._client.send(
            "DELETE", f"/api/predictions/{prediction_id}/", accept=frozenset({404})
        )
        return int(reply.status != 404)


def prelabel(
    control: ChoiceControl, choice: str | None, confidence: float | None
) -> list[dict[str, Any]]:
    """Build the result of a prediction: one choice with the model's confidence, or nothing.

    The confidence stands at the region, since the prediction's own score means the place.
    """
    if choice is None:
        return []
    region: dict[str, Any] = {
        "from_name": control.from_name,
        "to_name": control.to_name,
        "type": "choices",
        "value": {"choices": [choice]},
    }
    return [region if confidence is None else {**region, "score": confidence}]


def _of_version(version: str) -> dict[str, Any]:
    return where("predictions_model_versions", "contains", "List", [version])


def _words(body: object) -> str:
    return (
        str(body.get("validation_errors") or body.get("detail")) if isinstance(body, dict) else ""
    )
