"""The slow loop: networks are fine-tuned in a process of their own, while the trainer goes on.

Decides when a fine-tune is due, starts the process that does it, one at a time, and starts it
again where it died. What such a process does stands in `ml_backend.fine_tune`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ml_backend.jobs.background import OneAtATime, Process
from ml_backend.jobs.store import FineTuneRecord, Store
from ml_backend.records import WebhookEvent

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3  # processes that die of the same fine-tune
START_TRAINING = "START_TRAINING"  # the event that Label Studio's button sends


@dataclass(frozen=True, slots=True)
class FineTunePolicy:
    """When a fine-tune is due without anybody asking. Both must be so since the last one."""

    by_itself: bool
    after_labels: int
    after_growth: float  # of the labels that the last one was trained on

    def is_due(self, trained_on: int, last_trained_on: int) -> bool:
        """Tell whether there is enough new to learn from; counts are labels."""
        news = trained_on - last_trained_on
        return self.by_itself and news >= max(
            self.after_labels, self.after_growth * last_trained_on
        )


@dataclass(slots=True)
class SlowLoop:
    """Looks after the fine-tunes of all projects. `start(fine_tune_id)` starts a process."""

    store: Store
    start: Callable[[int], Process]
    policy: FineTunePolicy
    now: Callable[[], datetime]
    _processes: OneAtATime = field(default_factory=lambda: OneAtATime("fine-tune"))

    def after_round(self, project_id: int, report: dict[str, Any]) -> None:
        """Ask for a fine-tune where a round found enough that is new."""
        latest = self.store.fine_tunes(project_id, limit=1)
        if latest and latest[0].is_open:
            return
        before = int(latest[0].outcome.get("trained_on", 0)) if latest else 0
        if self.policy.is_due(int(report.get("trained_on", 0)), before):
            self.store.ask_fine_tune(project_id, "enough new labels", self.now())

    def heard(self, project_id: int, events: tuple[WebhookEvent, ...]) -> None:
        """Ask for a fine-tune where somebody pressed Start Training."""
        if any(event.action == START_TRAINING for event in events):
            self.store.ask_fine_tune(project_id, "Start Training in Label Studio", self.now())

    def tend(self) -> None:
        """Start what waits, once a second at most, and see how the last process ended."""
        if not self._processes.is_free():
            return
        waiting = self.store.waiting_fine_tune(self.now())
        if waiting is not None and not self._given_up(waiting):
            log.info("fine-tune %d of project %d", waiting.fine_tune_id, waiting.project_id)
            self._processes.run(self.start(waiting.fine_tune_id))

    def stop(self) -> None:
        """Ask the process to end; the fine-tune is gone on with later."""
        self._processes.stop()

    def _given_up(self, waiting: FineTuneRecord) -> bool:
        if waiting.attempts < MAX_ATTEMPTS:
            return False
        died = f"its process died {waiting.attempts} times; the trainer's log says how"
        error = waiting.progress.get("error", died)
        outcome = {"error": error, "trained_on": waiting.progress.get("trained_on", 0)}
        self.store.finish_fine_tune(
            waiting.fine_tune_id, self.now(), state="failed", outcome=outcome
        )
        return True
