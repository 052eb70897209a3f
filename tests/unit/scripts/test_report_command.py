"""report on the command line: one file, never over another, with or without Label Studio."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml_backend.appraisal_file import save_appraisal
from ml_backend.jobs.store import Store
from ml_backend.learning.embeddings import content_hash
from ml_backend.settings import load_settings
from ml_backend.thumbnails import Thumbnails
from scripts.active_labeler import cli
from tests.unit.jobs.builders import project, tasks
from tests.unit.test_thumbnails import png
from tests.unit.web.appraisals import appraisal

KEPT = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with an appraisal, the pictures of its first tasks kept, and no Label Studio."""
    with closing(Store.open(load_settings(model_dir=tmp_path).sqlalchemy_url)) as store:
        store.save_project(project(7))
        store.upsert_tasks(7, tasks(*range(1, 101)))
        thumbnails = Thumbnails(tmp_path / "thumbnails", 10**6)
        for task_id in range(1, KEPT + 1):
            data = png(20, 20, f"#0000{task_id:02x}")
            thumbnails.of(None, lambda data=data: data)
            store.set_content_hashes(7, {task_id: content_hash(data)})
    save_appraisal(tmp_path / "projects" / "7", appraisal())
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--model-dir", str(folder), "report", "--project", "7", *words])


def test_the_report_says_what_is_missing_where_label_studio_cannot_be_asked(folder: Path) -> None:
    file = folder / "r.html"
    result = run(folder, "--output", str(file), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert 0 < told["pictures"] < told["of"]
    assert "pictures are missing" in told["notes"][0]
    assert "LABEL_STUDIO_API_KEY is not set" in file.read_text()
    assert "Accuracy" in file.read_text()


def test_a_file_that_is_there_is_replaced_only_by_force(folder: Path) -> None:
    file = folder / "r.html"
    file.write_text("somebody's")
    refused = run(folder, "--output", str(file), "--no-images")
    assert refused.exit_code == 1
    assert "--force" in str(refused.exception)
    assert file.read_text() == "somebody's"
    assert run(folder, "--output", str(file), "--no-images", "--force").exit_code == 0
    assert file.read_text().startswith("<!doctype html>")
    assert [each.name for each in folder.glob("*r.html*")] == ["r.html"]


def test_the_file_is_named_by_its_day(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert run(folder, "--no-images").exit_code == 0
    [file] = folder.glob("report-7-????-??-??.html")
    assert "pictures are missing" not in file.read_text()


def test_a_project_that_is_not_connected_has_no_report(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["--model-dir", str(folder), "report", "--project", "8"])
    assert "project 8 is not connected" in str(result.exception)
