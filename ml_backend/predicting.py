"""/predict: answer for tasks from what the last round computed. Never trains.

A prediction that Label Studio stores under the version in force takes part in the queue, so its
score is the task's place there. A task that the last round has not seen is embedded on the spot,
within a budget of time, and gets the last place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.errors import ImageUnreadable
from ml_backend.jobs.store import ConnectedProject
from ml_backend.labelstudio.labeling_queue import prelabel, score_of
from ml_backend.learning.checkpoints import RoundResults
from ml_backend.lookup import TaskLookup

log = logging.getLogger(__name__)

LAST_PLACE_SCORE = 1.0


@dataclass(frozen=True, slots=True)
class Predictor:
    """Answers /predict for one connected project.

    `embed_image(task_id, image_uri)` returns float32 (D,), None for an image that gets no answer
    (of the holdout, or while models change), or raises ImageUnreadable; `budget_s` is how long
    unseen tasks may take together, well below the 100 s that Label Studio waits.
    """

    project: ConnectedProject
    results: RoundResults | None
    embed_image: Callable[[int, str], NDArray[np.float32] | None]
    prelabel: bool
    budget_s: float = 50.0

    def predict(self, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return one prediction for each task, in their order."""
        if self.results is None:
            return [{"result": [], "score": LAST_PLACE_SCORE, "model_version": ""} for _ in tasks]
        lookup = TaskLookup(self.results)
        end = time.monotonic() + self.budget_s
        return [self._predict_one(lookup, task, end) for task in tasks]

    def _predict_one(
        self, lookup: TaskLookup, task: Mapping[str, Any], end: float
    ) -> dict[str, Any]:
        task_id = int(task.get("id") or 0)  # 0: a task that Label Studio has not stored
        place = lookup.place(task_id)
        if place is None:
            probs_C = self._unseen(lookup.results, task) if time.monotonic() < end else None
            return self._answer(lookup.results, probs_C, LAST_PLACE_SCORE)
        score = score_of(place, lookup.pool_size)
        shown = None if lookup.is_audit(task_id) else lookup.probs(task_id)
        return self._answer(lookup.results, shown, score)

    def _unseen(self, results: RoundResults, task: Mapping[str, Any]) -> NDArray[np.float32] | None:
        if results.head is None:
            return None
        uri = task.get("data", {}).get(self.project.control.image_field)
        try:
            embedding_D = self.embed_image(int(task.get("id") or 0), str(uri or ""))
        except ImageUnreadable as error:
            log.info("predict: task %s: %s", task.get("id"), error)
            return None
        if embedding_D is None:
            return None
        probs_1C: NDArray[np.float32] = results.head.probs(embedding_D[None])
        return probs_1C.reshape(-1)

    def _answer(
        self, results: RoundResults, probs_C: NDArray[np.float32] | None, score: float
    ) -> dict[str, Any]:
        regions: list[dict[str, Any]] = []
        if probs_C is not None and self.prelabel:
            top = int(probs_C.argmax())
            choice = results.classes[top]
            regions = prelabel(self.project.control, choice, float(probs_C[top]))
        return {"result": regions, "score": score, "model_version": results.model_version}
