"""scripts/demo as a person runs it, but for the setup: two starts, an oracle, and no trace left."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.digits_images import write_digits
from scripts.local_label_studio import LabelStudioNotInstalled, find_label_studio

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(600)]

CLASSES, IMAGES_A_CLASS = ("1", "4", "7"), 40


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of forty images: enough for a loop, quick to embed."""
    folder = tmp_path_factory.mktemp("demo") / "digits"
    write_digits(folder)
    for digit in folder.iterdir():
        files = sorted(digit.iterdir())
        for file in files[IMAGES_A_CLASS:] if digit.name in CLASSES else files:
            file.unlink()
        if digit.name not in CLASSES:
            digit.rmdir()
    return folder


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


def test_the_demo_shows_the_loop_and_a_second_start_goes_on(
    few_digits: Path, tmp_path: Path
) -> None:
    first = run_demo(tmp_path, "--images", str(few_digits), "--annotate", "12", "--pace", "0.5")
    assert "12 tasks labeled, in " in first
    assert int(re.search(r"in (\d+) successive orders", first).group(1)) > 1, "it must reorder"
    assert "came from outside the published window" not in first
    assert "Accuracy on 24 images that nobody labeled" in first
    remembered = json.loads((tmp_path / "demo.json").read_text())
    assert len(set(remembered["served"])) == 12

    second = run_demo(tmp_path, "--annotate", "3", "--pace", "0.5")
    assert "Uploading" not in second
    again = json.loads((tmp_path / "demo.json").read_text())
    assert again["project_id"] == remembered["project_id"]
    assert again["served"][:12] == remembered["served"]
    assert len(set(again["served"])) == 15, "the queue goes on and repeats nothing"
    for port in (again["label_studio_port"], again["backend_port"]):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "a server was left behind"
    assert remembered["access_token"] not in first + second


def test_a_demo_of_other_images_in_the_same_folder_is_refused(
    few_digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "demo.json").write_text(json.dumps({"images": "/elsewhere"}))
    command = [sys.executable, "-m", "scripts.demonstration.main", "--folder", str(tmp_path)]
    ended = subprocess.run(
        [*command, "--images", str(few_digits)], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1
    assert "holds a demo of /elsewhere" in ended.stderr
