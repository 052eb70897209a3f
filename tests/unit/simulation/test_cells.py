"""What is kept between two starts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend.errors import ConfigurationError, CorruptFile
from ml_backend.simulation.cells import Cell, Cells
from tests.unit.simulation.builders import curve

FACTS = {"data": "abc", "budgets": (10, 20)}


def test_a_saved_cell_is_found_by_whoever_opens_the_folder_next(tmp_path: Path) -> None:
    cell = Cell("fast", "uherding", 3)
    assert Cells(tmp_path, FACTS).find(cell) is None
    Cells(tmp_path, FACTS).save(cell, curve(0.5, 0.75))
    assert Cells(tmp_path, FACTS).find(cell) == curve(0.5, 0.75)
    assert Cells(tmp_path, FACTS).find(Cell("fast", "uherding", 4)) is None


def test_cells_of_other_data_or_budgets_are_refused_with_both_values(tmp_path: Path) -> None:
    Cells(tmp_path, FACTS)
    with pytest.raises(ConfigurationError, match=r'data "abc", now "def"') as refused:
        Cells(tmp_path, {**FACTS, "data": "def"})
    assert "--output" in str(refused.value)
    with pytest.raises(ConfigurationError, match=r"budgets \[10, 20\], now \[10\]"):
        Cells(tmp_path, {**FACTS, "budgets": (10,)})


def test_another_backbone_may_come_later_but_not_change(tmp_path: Path) -> None:
    Cells(tmp_path, {**FACTS, "backbone a": "1"})
    Cells(tmp_path, {**FACTS, "backbone b": "2"})
    with pytest.raises(ConfigurationError, match='backbone a "1", now "3"'):
        Cells(tmp_path, {**FACTS, "backbone a": "3"})


def test_names_that_look_alike_in_a_file_name_stay_apart(tmp_path: Path) -> None:
    cells = Cells(tmp_path, FACTS)
    cells.save(Cell("../a", "x:k=1", 0), curve(0.1))
    cells.save(Cell("../a", "x;k=1", 0), curve(0.2))
    assert cells.find(Cell("../a", "x:k=1", 0)) == curve(0.1)
    assert cells.find(Cell("../a", "x;k=1", 0)) == curve(0.2)
    assert len(list((tmp_path / "cells").iterdir())) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"cell": {}}', "nonsense"])
def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path, text: str) -> None:
    cells = Cells(tmp_path, FACTS)
    cells.save(Cell("a", "b", 0), curve(0.5))
    [file] = (tmp_path / "cells").iterdir()
    file.write_text(text)
    with pytest.raises(CorruptFile, match=file.name):
        cells.find(Cell("a", "b", 0))
