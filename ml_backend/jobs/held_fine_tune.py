"""A fine-tune while a process works on it: kept by signs of life, which tell how far it is.

Knows the store and the clock. Somebody else's wish to stop, or a lease that went to another
process, shows in `interrupted`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from ml_backend.errors import LeaseLost
from ml_backend.jobs.background import RoundsFirst, repeated
from ml_backend.jobs.store import FineTuneRecord, Store

log = logging.getLogger(__name__)

LEASE_S = 20.0
RENEW_S = 2.0


@dataclass
class HeldFineTune:
    """The right to work on one fine-tune."""

    store: Store
    record: FineTuneRecord
    owner: str
    now: Callable[[], datetime]
    stopping: threading.Event
    state: str = "training"
    progress: dict[str, Any] = field(default_factory=dict)
    cancelled: bool = False
    lost: bool = False

    def __post_init__(self) -> None:
        """Know when rounds are at work."""
        self._rounds = RoundsFirst(self.store, self.now, self.stopping)

    def tell(self, state: str, **progress: Any) -> None:
        """Say how far it is; the next sign of life carries it."""
        self.state = state
        self.progress = {**self.progress, **progress}

    def interrupted(self) -> bool:
        """Whether to stop: cancelled, lost to another process, or this process is to end."""
        return self.cancelled or self.lost or self.stopping.is_set()

    def give_way(self) -> None:
        """Wait while a round is at work: annotators wait for that one."""
        self._rounds.give_way(self.interrupted)

    def renew(self) -> bool:
        """Give a sign of life; False where the fine-tune is another's by now."""
        try:
            record = self.store.renew_fine_tune(
                self.record.fine_tune_id,
                self.owner,
                LEASE_S,
                self.now(),
                state=self.state,
                progress=self.progress,
            )
            self.cancelled = record.cancel
        except LeaseLost:
            self.lost = True
        except SQLAlchemyError as error:  # a locked database passes, or the lease ends
            log.warning("fine-tune %d: no sign of life: %s", self.record.fine_tune_id, error)
        return not self.lost


@contextmanager
def held_fine_tune(
    store: Store,
    fine_tune_id: int,
    owner: str,
    now: Callable[[], datetime],
    stopping: threading.Event,
) -> Iterator[HeldFineTune]:
    """Claim a fine-tune and keep it in the background. Raises LeaseLost where it is another's.

    What ends without having finished it gives it back, to be gone on with; an error is noted in its
    progress and raised.
    """
    record = store.claim_fine_tune(fine_tune_id, owner, LEASE_S, now())
    held = HeldFineTune(store, record, owner, now, stopping, progress=dict(record.progress))
    failed = False
    try:
        with repeated(held.renew, RENEW_S, "fine-tune lease"):
            yield held
    except BaseException as error:
        failed = not stopping.is_set()
        held.tell(held.state, error=f"{type(error).__name__}: {error}")
        raise
    finally:
        if failed:
            held.renew()  # so that what is told arrives
        store.release_fine_tune(fine_tune_id, owner, failed=failed)
