"""active-labeler simulate: from images on a disk or in a project to an answer that stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ml_backend.errors import ConfigurationError, UnknownStrategy
from ml_backend.learning.embeddings import EmbeddingCache, content_hash
from ml_backend.learning.images import decode
from ml_backend.learning.scratch import train_scratch_backbone
from ml_backend.settings import load_settings
from scripts.active_labeler import cli
from scripts.commands.simulate import _of_ours
from tests.loop import Loop, picture, truth

QUICK = ("--seeds", "2", "--batch", "5", "--labels", "15", "--strategy", "margin", "--jobs", "1")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """36 pictures in three class folders."""
    return write(tmp_path / "images", range(36))


def write(folder: Path, numbers: range) -> Path:
    for number in numbers:
        file = folder / truth(number) / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    return folder


def options(folder: Path) -> list[str]:
    settings = ["--set", "backbone=scratch", "--set", "device=cpu", "--log-level", "WARNING"]
    return ["--model-dir", str(folder / "model"), *settings, "simulate"]


def run(folder: Path, *words: str) -> Result:
    output = () if "--output" in words else ("--output", str(folder / "out"))
    return CliRunner().invoke(cli, [*options(folder), *output, *words])


def answer(folder: Path, *words: str) -> Any:
    result = run(folder, *words, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_a_folder_is_replayed_and_told(tmp_path: Path, images: Path) -> None:
    shown = run(tmp_path, "--images", str(images), *QUICK, "--accuracy", "0.5 0.6")
    assert shown.exit_code == 0, (shown.output, shown.exception)
    for expected in ("margin", "random", "50 %", "60 %", "Only 36 images", "report.html"):
        assert expected in shown.output
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["strategy"] for row in told["rows"]} == {"margin", "random"}
    assert told["plan"]["budgets"] == [5, 10, 15]


def test_a_csv_gives_what_the_folder_gives(tmp_path: Path, images: Path) -> None:
    rows = [f"{file},{file.parent.name}" for file in sorted(images.rglob("*.png"))]
    table = tmp_path / "images.csv"
    table.write_text("\n".join(["file,kind", *rows]))
    by_folder = answer(tmp_path, "--images", str(images), *QUICK)
    columns = ("--option", "image_column=file", "--option", "label_column=kind", "--root", "/")
    by_csv = answer(tmp_path, "--csv", str(table), *columns, *QUICK)  # the same data: same cells
    assert by_csv["rows"] == by_folder["rows"]


def test_processes_change_nothing(tmp_path: Path, images: Path) -> None:
    quick = [*QUICK[:-2], "--images", str(images)]
    alone = answer(tmp_path, *quick, "--jobs", "1", "--output", str(tmp_path / "1"))
    together = answer(tmp_path, *quick, "--jobs", "2", "--output", str(tmp_path / "2"))
    assert [row["curve"] for row in alone["rows"]] == [row["curve"] for row in together["rows"]]


def test_changed_data_or_budgets_are_refused_and_more_seeds_are_not(
    tmp_path: Path, images: Path
) -> None:
    answer(tmp_path, "--images", str(images), *QUICK)
    cells = {file: file.read_bytes() for file in (tmp_path / "out" / "cells").iterdir()}
    more = answer(tmp_path, "--images", str(images), *QUICK, "--seeds", "3")
    assert more["rows"][0]["aulc"]["n"] == 3
    assert {file: file.read_bytes() for file in cells} == cells
    other = run(tmp_path, "--images", str(images), *QUICK, "--labels", "20")
    assert "something else (budgets" in str(other.exception)
    write(images, range(36, 39))
    changed = run(tmp_path, "--images", str(images), *QUICK)
    assert "something else (data" in str(changed.exception)


@pytest.mark.slow
def test_killed_it_goes_on_with_what_was_done(tmp_path: Path, images: Path) -> None:
    words = [*options(tmp_path), "--images", str(images), "--output", str(tmp_path / "out")]
    words += ["--seeds", "8", "--batch", "2", "--labels", "26", "--strategy", "margin"]
    cells = tmp_path / "out" / "cells"
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.active_labeler", *words, "--jobs", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not whole(cells) and time.monotonic() < end:
            time.sleep(0.02)
        assert process.poll() is None, "done before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = {file: file.stat().st_mtime_ns for file in whole(cells)}
    assert 1 <= len(before) < 16
    told = json.loads(CliRunner().invoke(cli, [*words, "--jobs", "1", "--json"]).stdout)
    assert told["rows"][0]["aulc"]["n"] == 8
    assert {file: file.stat().st_mtime_ns for file in before} == before


def whole(cells: Path) -> list[Path]:
    return sorted(cells.glob("*.json")) if cells.is_dir() else []


def test_a_hostile_class_is_text_in_the_report(tmp_path: Path, images: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    (images / "cat").rename(images / name)
    shown = run(tmp_path, "--images", str(images), *QUICK)
    assert shown.exit_code == 0, (shown.output, shown.exception)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--images", "missing"], "no such folder"),
        (["--images", ".", "--strategy", "marvellous"], "there is no strategy 'marvellous'"),
        (["--images", ".", "--strategy", "margin:k=3"], "margin"),
        (["--images", ".", "--strategy", "top_n:uncertainty"], "NAME:KEY=VALUE"),
        (["--images", ".", "--strategy", "top_n:uncertainty=x"], "there is: "),
        (["--images", ".", "--accuracy", "80"], "numbers from 0 to 1"),
        (["--images", ".", "--accuracy", "much"], "--accuracy"),
        (["--from-project", "3"], "LABEL_STUDIO_API_KEY"),  # not connected here: it must be asked
    ],
)
def test_what_cannot_be_is_refused_in_words(
    tmp_path: Path, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run(tmp_path, *words)
    assert isinstance(refused.exception, ConfigurationError | UnknownStrategy)
    assert told in str(refused.exception)


@pytest.mark.parametrize("words", [[], ["--images", "x", "--csv", "y"]])
def test_one_source_is_asked_for(tmp_path: Path, words: list[str]) -> None:
    refused = run(tmp_path, *words)
    assert refused.exit_code == 2
    assert "name one source: --images, --csv" in refused.output


def test_more_labels_than_there_are_images_are_refused(tmp_path: Path, images: Path) -> None:
    refused = run(tmp_path, "--images", str(images), "--labels", "500")
    assert "no more than the 27 images" in str(refused.exception)
    unmeasured = run(tmp_path, "--images", str(images), "--test-share", "0.01")
    assert "leaves no image to test on" in str(unmeasured.exception)


def test_a_project_is_replayed_from_the_embedding_cache(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "model")
    task_ids = loop.server.add_tasks(40)
    loop.ask()
    loop.run()
    for task_id in task_ids[:30]:
        loop.label(task_id)
    loop.run()
    loop.store.close()
    shown = [decode(picture(task_id), 1000) for task_id in task_ids]
    scratch = tmp_path / "model" / "projects" / "1" / "scratch"
    backbone = train_scratch_backbone(shown, scratch, "cpu", seed=0)
    cache = EmbeddingCache(tmp_path / "model" / "embeddings", backbone.key, backbone.dim)
    vectors_ND = backbone.embed([backbone.preprocess(image) for image in shown])
    cache.append([content_hash(picture(task_id)) for task_id in task_ids], vectors_ND)
    result = CliRunner().invoke(
        cli,
        [
            *("--label-studio-url", "http://fake", "--set", "label_studio_api_key=secret-token"),
            *options(tmp_path),
            *("--from-project", "1", "--output", str(tmp_path / "out"), *QUICK, "--json"),
        ],
    )
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert told["data"]["images"] == 30
    assert told["data"]["source"] == "project 1, a fake project"
    assert told["notes"][0] == "Of the project's 40 tasks 30 have a label that can be used."
    assert any("30 of the labels were chosen by the queue" in note for note in told["notes"])
    assert "secret-token" not in (tmp_path / "out" / "report.html").read_text() + result.output


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ({"kind": "label_studio", "project": 7}, 7),
        ({"kind": "label_studio", "project": 7, "url": "http://here:8080/"}, 7),
        ({"kind": "label_studio", "project": 7, "url": "http://elsewhere"}, None),
        ({"kind": "label_studio", "project": "seven"}, None),
        ({"kind": "folder", "path": "7"}, None),
    ],
)
def test_a_project_is_ours_by_its_number_or_by_our_own_address(
    tmp_path: Path, spec: dict[str, Any], number: int | None
) -> None:
    settings = load_settings(model_dir=tmp_path, label_studio_url="http://here:8080")
    assert _of_ours(settings, spec) == number


def test_too_few_labels_are_refused_before_a_network_is_trained(tmp_path: Path) -> None:
    few = write(tmp_path / "few", range(6))
    refused = run(tmp_path, "--images", str(few))
    assert "only 6 images can be used" in str(refused.exception)
    assert not (tmp_path / "out").exists()
