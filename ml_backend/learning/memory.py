"""How a process that trains holds on to memory.

Knows the C library's allocator. Knows neither torch nor what the memory is for.
"""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt(3), from its malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Keep what is freed for the next allocation until this process ends; tell whether it does so.

    Every training step allocates and frees the same hundreds of megabytes. glibc gives them back to
    the system each time, which then clears them page by page for the next step (see
    `benchmarks.training_speed --free-memory`). False where the C library is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
