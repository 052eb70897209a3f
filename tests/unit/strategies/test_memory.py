"""What a process of a benchmark has held must not begin at what its parent held."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.memory import peak_mb
from tests.repo.sources import ROOT


def test_peak_stays_when_what_was_held_is_let_go() -> None:
    held = bytearray(b"1" * (300 << 20))
    del held
    assert peak_mb() >= 300


def test_child_of_a_large_process_begins_small() -> None:
    held = bytearray(b"1" * (300 << 20))
    code = "from benchmarks.memory import peak_mb; print(peak_mb())"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(said.stdout) < 200 < len(held) >> 20
