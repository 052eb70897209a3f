"""The most memory that this process has held so far."""

from __future__ import annotations

from pathlib import Path


def peak_mb() -> float:
    """Return the peak of the resident memory in MB, from the start of this program on.

    Not getrusage's ru_maxrss: that of a child begins at its parent's, on Linux, so that a parent
    that has just made a large pool hides what the child takes.
    """
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
