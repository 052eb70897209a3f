"""A process that trains is not given the same memory anew in each step."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_STEPS = """
import resource, sys
import numpy as np
from ml_backend.learning.memory import keep_freed_memory

def step():
    return [np.ones(1_000_000) for _ in range(8)]  # 8 MB each

if sys.argv[1] == "keep":
    assert keep_freed_memory()
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so")
def test_freed_memory_serves_the_next_step() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", _STEPS, how], text=True))
        for how in ("keep", "as it is")
    }
    assert faults["keep"] < 100
    assert faults["keep"] < faults["as it is"] / 10
