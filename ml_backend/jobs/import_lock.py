"""One import of a project at a time.

Knows files and locks. The system lets go of the lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_backend.errors import ConfigurationError


@contextmanager
def one_import(folder: Path) -> Iterator[None]:
    """Hold the lock of a project's folder. Raises ConfigurationError where another process does.

    Two at once could each send an image that the other has just sent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "import.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another import into this project is at work (it holds {lock.name}); wait for it"
            ) from None
        yield
