"""CSV cells: exact for programs, and no formula for spreadsheets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.exporting.tables import cell, plain, read_table, write_table


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+cat", "'+cat"),
        ("-cat", "'-cat"),
        ("@sum(a1)", "'@sum(a1)"),
        ("\t=1", "'\t=1"),
        ("＝1+1", "'＝1+1"),
        ("'quoted'", "''quoted'"),
        ("-1", "-1"),
        ("+3.5e-07", "+3.5e-07"),
        (-2, "-2"),
        ("cat", "cat"),
        ("a=b", "a=b"),
        (None, ""),
    ],
)
def test_a_formula_gets_an_apostrophe_and_nothing_else_does(value: object, written: str) -> None:
    assert cell(value) == written


@given(st.text(max_size=50))
def test_what_is_read_is_what_was_written_and_never_a_formula(text: str) -> None:
    written = cell(text)
    assert plain(written) == text
    assert written[:1] not in tuple("=@\t\r\n＝＠＋－")


def test_a_table_is_read_back_with_all_its_signs(tmp_path: Path) -> None:
    rows = [
        {"a": 'say "cat", please', "b": "two\r\nlines"},
        {"a": "=1", "b": "ümläut, \u2028; \x0b"},
        {"a": "'", "b": ""},
    ]
    write_table(tmp_path / "deep" / "t.csv", ("a", "b"), rows)
    assert read_table(tmp_path / "deep" / "t.csv") == rows


def test_a_row_without_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="b"):
        write_table(tmp_path / "t.csv", ("a", "b"), [{"a": 1}])
