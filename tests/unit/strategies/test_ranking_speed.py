"""The speed benchmark's arithmetic and its limits: fast must not be able to hide worse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ranking_bars import BARS, missed
from benchmarks.ranking_bars import table as bars_table
from benchmarks.ranking_speed import FAMILIES, OURS, pool_arrays, reached, run_selection
from benchmarks.ranking_speed_report import table
from strategies import STRATEGIES


def test_radius_and_herding_objective_by_pencil() -> None:
    pool_ND = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    none_MD = np.empty((0, 2), np.float32)
    # squared distances to the nearest of what is taken: 0, 2, 4 with the first; 0, 0, 2 with two
    one = reached(pool_ND, none_MD, [0])
    assert one["coverage_radius"] == pytest.approx(2.0)
    assert one["herding_objective"] == pytest.approx((1 + np.exp(-2) + np.exp(-4)) / 3)
    two = reached(pool_ND, pool_ND[1:2], [0])  # what is labeled covers as well
    assert two["coverage_radius"] == pytest.approx(2**0.5)


def test_pool_is_the_same_for_everybody_and_on_the_unit_sphere() -> None:
    first, again = pool_arrays(50), pool_arrays(50)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    np.testing.assert_allclose(np.linalg.norm(first["pool"], axis=1), 1.0, atol=1e-5)


def test_every_method_of_ours_that_is_compared_exists() -> None:
    ours = {method for _, methods in FAMILIES for library, method in methods if library == OURS}
    assert ours <= set(STRATEGIES)


def test_selection_that_takes_too_long_is_ended_and_said_so(tmp_path: Path) -> None:
    slow = tmp_path / "python"
    slow.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'while True: pass'\n")
    slow.chmod(0o755)
    job = {"folder": str(tmp_path), "method": "any", "picks": 1}
    answer = run_selection("modAL", job, slow, cap_s=1, cap_gib=4)
    assert answer == {"failed": "more than 1 CPU s"}


def test_library_that_is_not_there_is_reported(tmp_path: Path) -> None:
    job = {"folder": str(tmp_path), "method": "any", "picks": 1}
    assert run_selection("baal", job, None, 1, 1) == {"failed": "not installed"}


def test_table_compares_quality_at_the_largest_pool_that_all_managed() -> None:
    def record(library: str, n: int, radius: float) -> dict[str, Any]:
        done = {"cpu_seconds": n / 1000, "memory_mb": 1.0, "herding_objective": 0.5}
        who = {"family": "k-center", "library": library, "method": "m", "n": n, "picks": 9}
        return {**who, **done, "coverage_radius": radius}

    failed = {"family": "k-center", "library": "slow", "method": "m", "n": 20, "picks": 9}
    records = [
        record("ours", 10, 1.25),
        record("slow", 10, 1.5),
        record("ours", 20, 1.125),
        {**failed, "failed": "more than 1 CPU s"},
    ]
    lines = table(records).splitlines()
    assert lines[2] == "| k-center | **m** (ours) | 0.01 | 0.02 | 1 MB | 1.250 | 0.500 |"
    assert lines[3] == "| k-center | slow m | 0.01 | ✗ | 1 MB | 1.500 | 0.500 |"
    assert lines[-1] == "✗: slow m at 20: more than 1 CPU s."


def test_bar_is_missed_by_the_clock_or_by_memory() -> None:
    kept = {"wall_s": 1.9, "most_s": 2.0, "memory_mb": 499.0, "most_mb": 500.0}
    assert not missed(kept)
    assert missed({**kept, "wall_s": 2.1})
    assert missed({**kept, "memory_mb": 501.0})
    assert not missed({**kept, "memory_mb": 501.0, "most_mb": None})


def test_what_misses_its_bar_says_so_in_the_table() -> None:
    cost = {"wall_s": 2.5, "one_thread_s": 1.5, "cpu_s": 1.25, "memory_mb": 10.0, "load": 0.5}
    slow = {"job": "any, the head", "n": 100_000, "most_s": 2.0, "most_mb": None, **cost}
    assert bars_table([slow]).splitlines()[2] == (
        "| any, the head | 100,000 | 2.50 | 1.50 | 1.25 | 10 MB | 2 s **missed** | 0.5 |"
    )


def test_every_strategy_with_a_bar_exists() -> None:
    assert {bar.job.partition(",")[0] for bar in BARS} <= {*STRATEGIES, "clusters"}
