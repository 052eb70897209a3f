"""All cells, once each, in any number of processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend.errors import ConfigurationError
from ml_backend.simulation.cells import Cell, Cells
from ml_backend.simulation.replay import Contender
from ml_backend.simulation.running import Plan, run
from tests.unit.simulation.builders import blobs, curve

PLAN = Plan((Contender("random", "random"), Contender("margin", "margin")), (4, 8, 16), seeds=2)


def test_one_and_two_processes_give_the_same(tmp_path: Path) -> None:
    sets = {"a": blobs(), "b": blobs(spread=3)}
    alone = run(sets, PLAN, Cells(tmp_path / "1", {}), jobs=1)
    together = run(sets, PLAN, Cells(tmp_path / "2", {}), jobs=2)
    assert len(alone) == 2 * 2 * 2
    assert {cell: c.accuracies for cell, c in alone.items()} == {
        cell: c.accuracies for cell, c in together.items()
    }


def test_what_is_kept_is_not_replayed(tmp_path: Path) -> None:
    cells, seen = Cells(tmp_path, {}), []
    kept = Cell("a", "margin", 1)
    cells.save(kept, curve(0.11, 0.12, 0.13))
    curves = run({"a": blobs()}, PLAN, cells, jobs=1, on_progress=lambda *done: seen.append(done))
    assert curves[kept] == curve(0.11, 0.12, 0.13)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_ends_the_run_and_keeps_what_came_before(tmp_path: Path, jobs: int) -> None:
    broken = Contender("broken", "top_n", (("uncertainty", "nonsense"),))
    plan = Plan((Contender("random", "random"), broken), (4, 8), seeds=2)
    cells = Cells(tmp_path, {})
    with pytest.raises(ConfigurationError, match="nonsense"):
        run({"a": blobs()}, plan, cells, jobs)
    assert cells.find(Cell("a", "random", 0)) is not None or jobs == 2
    assert cells.find(Cell("a", "broken", 0)) is None
