"""What long work does beside itself: signs of life, standing aside for rounds, processes in line.

Knows threads, the clock and the store.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from ml_backend.jobs.store import Store

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0

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


class Process(Protocol):
    """What is needed of subprocess.Popen."""

    def poll(self) -> int | None:
        """Return how it ended, or None."""

    def terminate(self) -> None:
        """Ask it to end."""


class OneAtATime:
    """Runs one process after the other. `what` names them in the log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._process: Process | None = None
        self._looked = float("-inf")

    def is_free(self) -> bool:
        """Look, once a second at most, how the last process ended; tell whether none runs."""
        if time.monotonic() - self._looked < LOOK_EVERY_S:
            return False
        self._looked = time.monotonic()
        code = None if self._process is None else self._process.poll()
        if self._process is not None and code is None:
            return False
        if self._process is not None:
            level = logging.WARNING if code else logging.DEBUG
            log.log(level, "the process of a %s ended with %d", self._what, code)
            self._process = None
        return True

    def run(self, process: Process) -> None:
        """Look after a process that has just been started."""
        self._process = process

    def stop(self) -> None:
        """Ask the process to end; what it did is gone on with later."""
        if self._process is not None:
            self._process.terminate()
            self._process = None


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
