"""The flags of `active-labeler import`, up to where Label Studio is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from scripts.active_labeler import cli
from scripts.commands.imports import source_spec, summary
from tests.unit.sources.pictures import write_images


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["import", *arguments])

    return invoke


@pytest.mark.parametrize(
    ("given", "options", "spec"),
    [
        ({"images": "x"}, (), {"kind": "folder", "path": "x"}),
        ({"csv": "t.csv", "root": "r"}, (), {"kind": "csv", "path": "t.csv", "root": "r"}),
        ({"tfds": "mnist", "root": "r"}, (), {"kind": "tfds", "name": "mnist", "data_dir": "r"}),
        ({"from_project": "7"}, (), {"kind": "label_studio", "project": 7, "url": None}),
        (
            {"from_project": "https://host/ls/projects/7/data?tab=1"},
            (),
            {"kind": "label_studio", "project": 7, "url": "https://host/ls"},
        ),
        (
            {"csv": "t.csv"},
            ("delimiter=|", "outside_root=true", "metadata_columns=[a, b]"),
            {
                "kind": "csv",
                "path": "t.csv",
                "delimiter": "|",
                "outside_root": True,
                "metadata_columns": ["a", "b"],
            },
        ),
        ({"source": "{kind: folder, path: x}"}, (), {"kind": "folder", "path": "x"}),
    ],
)
def test_flags_become_a_source(
    given: dict[str, Any], options: tuple[str, ...], spec: dict[str, Any]
) -> None:
    assert source_spec(given, options) == spec


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        ({}, (), "name one source"),
        ({"images": "x", "csv": "y"}, (), "name one source"),
        ({"images": "x"}, ("labels",), "NAME=VALUE"),
        ({"source": "folder"}, (), "expected {kind"),
        ({"from_project": "seven"}, (), "expected a number"),
    ],
)
def test_flags_that_name_no_source_are_refused(
    given: dict[str, Any], options: tuple[str, ...], says: str
) -> None:
    with pytest.raises(click.UsageError, match=says):
        source_spec(given, options)


def test_a_dry_run_tells_classes_and_asks_nobody(run: Any, tmp_path: Path) -> None:
    write_images(tmp_path / "pets", "cat/1.png", "cat/2.png", "dog/3.png")

    answer = run("--images", str(tmp_path / "pets"), "--dry-run", "--json")

    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["images"], told["labels"]) == (3, {"cat": 2, "dog": 1})
    assert not (tmp_path / "active-labeler-data").exists()


def test_where_to_must_be_said(run: Any, tmp_path: Path) -> None:
    write_images(tmp_path / "pets", "1.png")

    neither = run("--images", str(tmp_path / "pets"))
    both = run("--images", str(tmp_path / "pets"), "--project", "1", "--new-project", "x")

    assert (neither.exit_code, both.exit_code) == (2, 2)
    assert "--new-project TITLE" in neither.output


def test_a_report_can_be_written_as_json() -> None:
    from ml_backend.importing import ImportReport

    report = ImportReport(imported=2)
    report.unreadable.note("a.png", "damaged")

    told = json.loads(json.dumps(summary(report)))

    assert (told["imported"], told["unreadable"]) == (2, 1)
    assert told["unreadable_listed"] == [["a.png", "damaged"]]
