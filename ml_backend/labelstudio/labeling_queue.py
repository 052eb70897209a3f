"""The labeling queue: which task Label Studio serves next, and what it shows there.

With sampling "Uncertainty sampling" Label Studio serves the task with the lowest score among the
predictions whose model version is the project's current one. So a queue is written as predictions
of a new version, unseen by annotators, and then switched to in one call.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from ml_backend.errors import PublishMismatch
from ml_backend.labelstudio.client import LabelStudioClient, Reply, reasons
from ml_backend.labelstudio.finished_tasks import FinishedTasks
from ml_backend.labelstudio.prediction_writer import PredictionWriter, Written
from ml_backend.labelstudio.projects import read_settings
from ml_backend.labelstudio.task_lists import TaskLists, where
from ml_backend.records import ChoiceControl, ProjectSettings, QueueEntry

log = logging.getLogger(__name__)

UNCERTAINTY_SAMPLING = "Uncertainty sampling"
SETTINGS_FIELDS = (
    "sampling,model_version,show_collab_predictions,evaluate_predictions_automatically"
)

DELETE_SLICE = 20
REFUSED, GONE, NO_REFUSAL = frozenset({400}), frozenset({404}), frozenset[int]()
UNFINISHED = where("completed_at", "empty", "Datetime", value=True)
# Where no prediction of the current version exists, the score is null and passes no comparison.
QUEUED = where("predictions_score", "less", "Number", 2)


def score_of(place: int, pool_size: int) -> float:
    """Return the prediction score of a place in the queue: in [0, 1), wanted first = lowest.

    The one place where direction flips: everywhere else, higher means sooner.
    """
    if not 0 <= place < pool_size:
        raise ValueError(f"place {place} is not in a pool of {pool_size} tasks")
    return place / pool_size


class LabelingQueue:
    """The queue of one project. `finished` opens tasks that have left it."""

    def __init__(self, client: LabelStudioClient, project_id: int, control: ChoiceControl) -> None:
        self._client = client
        self._project_id = project_id
        self._control = control
        self._lists = TaskLists(client, project_id)
        self._path = f"/api/projects/{project_id}/"
        self._writer = PredictionWriter(client, project_id)
        self.finished = FinishedTasks(client, project_id)

    def write(self, entries: Sequence[QueueEntry], version: str) -> Written:
        """Write entries under a version that Label Studio does not serve yet.

        Never write one version's task twice, and give each attempt a version of its own: after a
        timeout nobody knows what was stored. Raises PublishMismatch where Label Studio stored
        something else, ValueError for entries that cannot be meant.
        """
        self._check(entries)
        return self._writer.write([self._prediction(entry, version) for entry in entries])

    def writes_at_once(self, n_rows: int) -> bool:
        """Say whether `write` sends this many rows as one import, cheaper than one call a row."""
        return self._writer.at_once(n_rows)

    def flip(self, version: str) -> None:
        """Serve `version` from now on, in one call. Sets the sampling, too.

        Raises PublishMismatch where Label Studio holds no prediction of that version, or does not
        keep what it was told.
        """
        reply = self._update(sampling=UNCERTAINTY_SAMPLING, model_version=version)
        if reply.status == 400:
            raise PublishMismatch(
                f"project {self._project_id} cannot serve {version!r}: {reasons(reply.body)}"
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
        self._update(
            NO_REFUSAL,
            sampling=settings.sampling,
            show_collab_predictions=settings.show_collab_predictions,
            evaluate_predictions_automatically=settings.evaluate_predictions_automatically,
        )
        if self._update(model_version=settings.model_version).status != 400:
            return ()
        self._update(NO_REFUSAL, model_version="")
        return (
            f"model_version was {settings.model_version!r}, which Label Studio no longer knows; "
            "it is empty now",
        )

    def versions(self) -> dict[str, int]:
        """Count the project's predictions by model version."""
        counts = self._client.get(f"{self._path}model-versions/")
        return {str(version): int(count) for version, count in counts.items()}

    def delete(self, version: str, at_most: int | None = None, spare: Collection[int] = ()) -> int:
        """Delete predictions of a version that is not served; return how many.

        Those of the tasks in `spare` stay, where `at_most` is given: an annotator who has such a
        task open could not submit it any more (400: the annotation names its prediction).

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
            return sum(self._delete_one(row) for row in islice(self._rows(version, spare), at_most))
        reply = self._client.delete(f"{self._path}model-versions/", {"model_version": version})
        if self.settings().model_version != before:
            # Label Studio empties it where it names a backend, whatever version is deleted.
            self._update(NO_REFUSAL, model_version=before)
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

    def _update(self, accept: frozenset[int] = REFUSED, **settings: Any) -> Reply:
        """Change settings of the project, in one call."""
        return self._client.call(
            f"changing project {self._project_id}",
            lambda sdk, options: sdk.projects.with_raw_response.update(
                self._project_id, **settings, request_options=options
            ),
            accept,
        )

    def _rows(self, version: str, spare: Collection[int]) -> Iterator[int]:
        """Yield the ids of a version's predictions but of these tasks, a few tasks at a time."""
        pages = TaskLists(self._client, self._project_id, page_size=DELETE_SLICE).pages(
            [_of_version(version)], include="id,predictions,model_version", nested=True
        )
        for page in pages:
            for task in page:
                for prediction in task["predictions"] if task["id"] not in spare else ():
                    if prediction["model_version"] == version:
                        yield prediction["id"]

    def _delete_one(self, prediction_id: int) -> int:
        reply = self._client.call(
            f"deleting prediction {prediction_id}",
            lambda sdk, options: sdk.predictions.with_raw_response.delete(
                prediction_id, request_options=options
            ),
            GONE,
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
