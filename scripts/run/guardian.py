"""Ends a run's servers when the run itself was killed and could not.

A process of its own that waits at the other end of a pipe: the pipe ends when the run does, however
it dies. It holds the folder's lock until the last server is gone, so that the next start waits.

    python -m scripts.run.guardian < pipe      lines are process groups to end; "." means: none
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

STOP_TIMEOUT_S = 15.0
NOTHING_LEFT = "."


@dataclass(frozen=True)
class Guardian:
    """The run's end of the pipe."""

    process: subprocess.Popen[str]

    def watch(self, process_group: int) -> None:
        """Have a process group ended when this process is killed."""
        self._say(str(process_group))

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # somebody killed the guardian: the run goes on without
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()


@contextmanager
def guardian(lock: int) -> Iterator[Guardian]:
    """Start a guardian; when the block ends in order, there is nothing left for it to do."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.run.guardian"],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C, and what kills the run's process group, must not reach it
        pass_fds=(lock,),
    )
    started = Guardian(process)
    try:
        yield started
    finally:
        started._say(NOTHING_LEFT)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


def end(groups: Iterable[int]) -> None:
    """End process groups, by force where they do not end by themselves."""
    left = list(groups)
    _signal(left, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [group for group in left if _lives(group)]
    _signal(left, signal.SIGKILL)


def _signal(groups: Iterable[int], how: signal.Signals) -> None:
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, how)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Wait for the pipe's end."""
    lines = sys.stdin.read().split()
    if not lines or lines[-1] != NOTHING_LEFT:
        end(int(line) for line in lines)


if __name__ == "__main__":
    main()
