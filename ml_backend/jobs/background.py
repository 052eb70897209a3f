"""What long work does beside itself: signs of life, and standing aside for rounds.

Knows threads, the clock and the store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from ml_backend.jobs.store import Store

# While a round is at work other work waits, but not for ever: a first round embeds for hours.
LOOK_FOR_ROUNDS_S = 0.2
GIVE_WAY_AT_MOST_S = 20.0


@contextmanager
def repeated(act: Callable[[], bool], every_s: float, name: str) -> Iterator[None]:
    """Do something again and again in a thread, until it returns False or the block ends."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(every_s) and act():
            pass

    thread = threading.Thread(target=keep, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class RoundsFirst:
    """Stands aside while a round is at work: annotators wait for that one."""

    def __init__(
        self, store: Store, now: Callable[[], datetime], stopping: threading.Event
    ) -> None:
        self._store = store
        self._now = now
        self._stopping = stopping
        self._looked = float("-inf")

    def give_way(self, interrupted: Callable[[], bool]) -> None:
        """Wait until no round is at work, or `interrupted`."""
        if time.monotonic() - self._looked < LOOK_FOR_ROUNDS_S:
            return
        end = time.monotonic() + GIVE_WAY_AT_MOST_S
        while self._store.rounds_at_work(self._now()) and time.monotonic() < end:
            if self._stopping.wait(LOOK_FOR_ROUNDS_S / 4) or interrupted():
                break
        self._looked = time.monotonic()
