"""Slows down who guesses passwords. Knows addresses and times; nothing of HTTP.

Counts in memory: each process of the web server counts for itself, and a restart forgets. That
makes guessing slow and not impossible, so the password has to be a long one. Behind a proxy all
people have one address, and wait together.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta

FREE = 5  # wrong passwords before anybody waits
LONGEST_S = 60.0
FORGET_AFTER = timedelta(minutes=15)
REMEMBERED = 10_000  # addresses; an attacker with more of them pushes the oldest out


class Attempts:
    """Wrong passwords by address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, tuple[int, datetime]] = OrderedDict()

    def wait_s(self, address: str, now: datetime) -> float:
        """Say how long an address must wait before its next try, in seconds."""
        with self._lock:
            number, last = self._failed.get(address, (0, now))
        if number < FREE or now - last > FORGET_AFTER:
            return 0.0
        pause_s = min(2.0 ** (number - FREE), LONGEST_S)
        return max(0.0, pause_s - (now - last).total_seconds())

    def failed(self, address: str, now: datetime) -> None:
        """Count a wrong password."""
        with self._lock:
            number, last = self._failed.pop(address, (0, now))
            number = 0 if now - last > FORGET_AFTER else number
            self._failed[address] = (min(number + 1, 64), now)
            if len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Forget an address that knew the password."""
        with self._lock:
            self._failed.pop(address, None)
