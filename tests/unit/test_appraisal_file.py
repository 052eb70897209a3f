"""An appraisal's file: whole or not there, and read again only when it is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend.appraisal_file import FILE_NAME, last_appraisal, save_appraisal
from ml_backend.errors import CorruptFile


def test_nothing_is_known_before_the_first(tmp_path: Path) -> None:
    assert last_appraisal(tmp_path / "no such project") is None


def test_the_last_one_saved_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "projects" / "7"
    save_appraisal(folder, {"round_id": 1, "classes": ["chat", "müsli"]})
    assert last_appraisal(folder) == {"round_id": 1, "classes": ["chat", "müsli"]}
    save_appraisal(folder, {"round_id": 2})
    assert last_appraisal(folder) == {"round_id": 2}
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]


def test_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    save_appraisal(tmp_path, {"round_id": 1})
    assert last_appraisal(tmp_path) is last_appraisal(tmp_path)


def test_what_is_no_number_is_refused_and_the_last_one_stays(tmp_path: Path) -> None:
    save_appraisal(tmp_path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        save_appraisal(tmp_path, {"accuracy": float("nan")})
    assert last_appraisal(tmp_path) == {"accuracy": 0.5}


@pytest.mark.parametrize("content", ["", "[1]", "{", "null"])
def test_a_file_that_is_no_appraisal_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(CorruptFile, match="no appraisal"):
        last_appraisal(tmp_path)
