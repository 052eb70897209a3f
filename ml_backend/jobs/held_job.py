"""A job while a process works on it: kept by signs of life, which tell how far it is.

Knows the store and the clock, and not what the job does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ml_backend.errors import ActiveLabelerError, Cancelled, LeaseLost
from ml_backend.jobs.background import RoundsFirst, repeated
from ml_backend.jobs.store import JobRecord, Store

log = logging.getLogger(__name__)

LEASE_S = 20.0
RENEW_S = 1.0


@dataclass
class HeldJob:
    """The right to work on one job."""

    store: Store
    record: JobRecord
    owner: str
    now: Callable[[], datetime]
    stopping: threading.Event
    progress: dict[str, Any] = field(default_factory=dict)
    lost: bool = False
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Know when rounds are at work."""
        self._rounds = RoundsFirst(self.store, self.now, self.stopping)

    def tell(self, doing: str, done: int = 0, of: int = 0) -> None:
        """Say how far it is, and stand aside for rounds. Raises Cancelled where it is to stop."""
        took_s = time.monotonic() - self._began
        eta = {"eta_s": round(took_s / done * (of - done), 1)} if done else {}
        self.progress = {"doing": doing, "done": done, "of": of, **eta}
        self._rounds.give_way(self._interrupted)
        if self._interrupted():
            raise Cancelled(f"job {self.record.job_id} was stopped")

    def renew(self) -> bool:
        """Give a sign of life; False where the job is another's by now."""
        job_id = self.record.job_id
        try:
            self.store.renew_job(job_id, self.owner, LEASE_S, self.now(), self.progress)
        except LeaseLost:
            self.lost = True
        except SQLAlchemyError as error:  # a locked database passes, or the lease ends
            log.warning("job %d: no sign of life: %s", job_id, error)
        return not self.lost

    def _interrupted(self) -> bool:
        return self.lost or self.stopping.is_set()


@contextmanager
def held_job(
    store: Store, job_id: int, owner: str, now: Callable[[], datetime], stopping: threading.Event
) -> Iterator[HeldJob]:
    """Claim a job, keep it in the background, and note how it ended. Raises LeaseLost.

    One that is stopped is given back. What was foreseen fails it with its reason; anything else is
    raised, with its reason in the progress, and the job waits for one more process.
    """
    record = store.start_job(job_id, owner, LEASE_S, now())
    held = HeldJob(store, record, owner, now, stopping)
    try:
        with repeated(held.renew, RENEW_S, "job lease"):
            yield held
    except Cancelled:
        store.release_job(job_id, owner)
    except ActiveLabelerError as error:
        log.error("job %d, %s: %s", job_id, record.kind, error)
        store.finish_job(job_id, now(), error=str(error))
    except BaseException as error:
        held.progress = {**held.progress, "error": f"{type(error).__name__}: {error}"}
        held.renew()
        store.release_job(job_id, owner, failed=True)
        raise
    else:
        store.finish_job(job_id, now())
