"""The trainer's jobs: each is done by a process of its own, one at a time, while rounds go on.

Decides when an appraisal is due, starts the process of what waits, and once more where it died.
What such a process does stands in `ml_backend.wiring.processes`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from ml_backend.jobs.background import OneAtATime, Process
from ml_backend.jobs.store import JobRecord, Store

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 2  # processes that die of the same job


@dataclass(slots=True)
class JobLoop:
    """Looks after the jobs of all projects. `start(job_id)` starts a process."""

    store: Store
    start: Callable[[int], Process]
    now: Callable[[], datetime]
    appraises: bool = True  # by itself, whenever there are new labels
    _processes: OneAtATime = field(default_factory=lambda: OneAtATime("job"))

    def appraise(self, project_id: int) -> None:
        """Ask for an appraisal, unless the labels are those of the last one."""
        rounds = self.store.rounds(project_id, limit=1)
        labels = rounds[0].report.get("labels_hash") if rounds else None
        if not self.appraises or labels is None:
            return
        last = self.store.jobs(project_id, limit=1, kind="appraise")
        if not last or last[0].arguments.get("labels") != labels:
            self.store.ask_job(project_id, "appraise", {"labels": labels}, self.now())

    def tend(self) -> None:
        """Start what waits, once a second at most, and see how the last process ended."""
        if not self._processes.is_free():
            return
        waiting = self.store.waiting_job(self.now())
        if waiting is not None and not self._given_up(waiting):
            log.info("job %d: %s of project %d", waiting.job_id, waiting.kind, waiting.project_id)
            self._processes.run(self.start(waiting.job_id))

    def stop(self) -> None:
        """Ask the process to end; its job is begun again later."""
        self._processes.stop()

    def _given_up(self, waiting: JobRecord) -> bool:
        if waiting.attempts < MAX_ATTEMPTS:
            return False
        died = f"its process died {waiting.attempts} times; the trainer's log says how"
        self.store.finish_job(waiting.job_id, self.now(), error=waiting.progress.get("error", died))
        return True
