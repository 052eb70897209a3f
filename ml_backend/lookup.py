"""One task in a round's results: its row, place, answer and doubts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.checkpoints import RoundResults


@dataclass(frozen=True)
class TaskLookup:
    """Finds tasks of the ranked pool by their id."""

    results: RoundResults

    @cached_property
    def _row_of(self) -> dict[int, int]:
        return {int(task_id): row for row, task_id in enumerate(self.results.task_ids_N)}

    @cached_property
    def _audit(self) -> frozenset[int]:
        return frozenset(self.results.audit_ids_A.tolist())

    @cached_property
    def _places_by_row(self) -> NDArray[np.int64]:
        places_N = np.empty(len(self.results.order_N), dtype=np.int64)
        places_N[self.results.order_N] = np.arange(len(self.results.order_N))
        return places_N

    @property
    def pool_size(self) -> int:
        """Tasks in the pool, ranked or not."""
        return int(self.results.details.get("pool_size", len(self.results.task_ids_N)))

    def place(self, task_id: int) -> int | None:
        """Place in the queue, from 0; None where the round did not rank the task."""
        row = self._row_of.get(task_id)
        return None if row is None else int(self._places_by_row[row])

    def probs(self, task_id: int) -> NDArray[np.float32] | None:
        """Class probabilities (C,); None without a model or where the task was not ranked."""
        row = self._row_of.get(task_id)
        if row is None or self.results.probs_NC is None:
            return None
        probs_C: NDArray[np.float32] = self.results.probs_NC[row]
        return probs_C

    def uncertainty(self, task_id: int) -> float | None:
        """How unsure the model is, in [0, 1]; None where it cannot be told."""
        row = self._row_of.get(task_id)
        if row is None or self.results.uncertainty_N is None:
            return None
        value = float(self.results.uncertainty_N[row])
        return None if np.isnan(value) else value  # of the audit

    def is_audit(self, task_id: int) -> bool:
        """Tell whether the task is there to measure the model on, and shown without its answer."""
        return task_id in self._audit

    def prelabel(self, task_id: int) -> str | None:
        """The class that annotators are shown; None without a model and for the audit."""
        probs_C = None if self.is_audit(task_id) else self.probs(task_id)
        return None if probs_C is None else self.results.classes[int(probs_C.argmax())]
