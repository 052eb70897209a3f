"""scripts/demo as a person runs it, but for the setup: two starts, an oracle, and no trace left."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ml_backend.jobs.store import Store
from scripts.local_label_studio import LabelStudioNotInstalled, find_label_studio
from tests.few_digits import few_digits as write_few_digits

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(600)]

IMAGES_A_CLASS = 40


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of forty images: enough for a loop, quick to embed."""
    return write_few_digits(tmp_path_factory.mktemp("digits"), IMAGES_A_CLASS, size_px=64)


def run_demo(folder: Path, *arguments: str) -> str:
    """Run the demo to its end and return what it printed. No pretrained weights, no network."""
    try:
        find_label_studio()
    except LabelStudioNotInstalled as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    command = [sys.executable, "-m", "scripts.demonstration.main", "--folder", str(folder)]
    ended = subprocess.run(
        [*command, "--then-stop", *arguments],
        env={**os.environ, "ACTIVE_LABELER_BACKBONE": "scratch", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def labeled(folder: Path) -> list[tuple[int, str, str | None]]:
    """What Label Studio has, in order: task, answer, and the class that its image shows."""
    store = Store.open(f"sqlite:///{folder / 'backend' / 'state.sqlite3'}")
    [project] = store.projects()
    truth = {each.task_id: each.label for each in store.imported(project.project_id)}
    store.close()
    with closing(sqlite3.connect(folder / "label-studio" / "label_studio.sqlite3")) as database:
        rows = database.execute("SELECT task_id, result FROM task_completion ORDER BY id")
        answers = [(task_id, json.loads(result)) for task_id, result in rows]
    return [(id_, regions[0]["value"]["choices"][0], truth[id_]) for id_, regions in answers]


def test_the_demo_shows_the_loop_and_a_second_start_goes_on(
    few_digits: Path, tmp_path: Path
) -> None:
    first = run_demo(tmp_path, "--images", str(few_digits), "--annotate", "12", "--pace", "0.5")
    assert "12 tasks labeled, in " in first
    assert int(re.search(r"in (\d+) successive orders", first).group(1)) > 1, "it must reorder"
    assert "came from outside the published window" not in first
    assert "Accuracy on 24 images that nobody labeled" in first
    assert re.search(r"12 .*\d ± \d", first), "the last row has the random orders' spread"
    remembered, served = json.loads((tmp_path / "run.json").read_text()), labeled(tmp_path)
    assert len({task_id for task_id, _, _ in served}) == len(served) == 12
    assert all(answer == shown for _, answer, shown in served)

    second = run_demo(tmp_path, "--annotate", "3", "--pace", "0.5")
    assert "3 tasks labeled, in " in second
    assert "0 images imported, " in second
    again, served_again = json.loads((tmp_path / "run.json").read_text()), labeled(tmp_path)
    assert again["project_id"] == remembered["project_id"]
    assert served_again[:12] == served
    assert len({task_id for task_id, _, _ in served_again}) == len(served_again) == 15, (
        "the queue goes on and repeats nothing"
    )
    for port in (again["label_studio_port"], again["backend_port"]):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "a server was left behind"
    assert remembered["access_token"] not in first + second


def test_a_demo_of_other_images_in_the_same_folder_is_refused(
    few_digits: Path, tmp_path: Path
) -> None:
    elsewhere = {"kind": "csv", "path": "images.csv", "root": "/elsewhere"}
    (tmp_path / "demo.yaml").write_text(json.dumps({"data": {"source": elsewhere}}))
    command = [sys.executable, "-m", "scripts.demonstration.main", "--folder", str(tmp_path)]
    ended = subprocess.run(
        [*command, "--images", str(few_digits)], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1
    assert "holds a demo of /elsewhere" in ended.stderr
