"""`active-labeler run` as a person types it: from files to an export, through kills and Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.processes import COMMAND, base_environment
from tests.e2e.runs import IMAGES_A_CLASS, Typed, find_the_export_right, rows, truth
from tests.few_digits import CLASSES

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(900)]

IMAGES, LABELS = len(CLASSES) * IMAGES_A_CLASS, 24


@pytest.fixture
def typed(few_digits: Path, tmp_path: Path) -> Typed:
    """A folder with the digits beside what is typed there."""
    shutil.copytree(few_digits, tmp_path / "digits")
    return Typed(tmp_path)


def truth_of(typed: Typed, row: dict[str, str]) -> Path:
    """The file of the source that a row of the export is about."""
    files = typed.folder.glob("digits/*/*.png")
    return next(
        f for f in files if hashlib.sha256(f.read_bytes()).hexdigest() == row["content_hash"]
    )


def test_a_folder_is_labeled_through_three_kills_and_nothing_is_lost_or_doubled(
    typed: Typed,
) -> None:
    typed.configure("{kind: folder, path: digits}", LABELS)
    rng = random.Random(os.environ.get("RUN_KILL_SEED", "3"))
    labeled = 0
    for at_least in (0, 1, LABELS // 3):  # somewhere in the beginning, and twice in the middle
        process = typed.start("--oracle", "--pace", "0")
        typed.wait_until(lambda: typed.labeled() >= at_least, process)  # noqa: B023 - at once
        time.sleep(rng.uniform(0.5, 15 if at_least == 0 else 3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert typed.labeled() >= labeled, "labels were lost"
        labeled = typed.labeled()
    told = typed.to_the_end("--oracle", "--pace", "0")
    assert f"{LABELS} images are labeled, {LABELS} were wanted" in told
    find_the_export_right(typed, LABELS, truth(typed.folder / "digits"))
    assert typed.nothing_runs()


def test_a_table_is_labeled_with_ctrl_c_in_between(typed: Typed) -> None:
    files = sorted(typed.folder.glob("digits/*/*"))
    examples = {file.parent.name: f"{file.parent.name}/{file.name}" for file in files}
    table = ["picture;kind", *(f"{f.parent.name}/{f.name};{f.parent.name}" for f in files)]
    (typed.folder / "digits.csv").write_text("\n".join(table))
    typed.configure(
        "{kind: csv, path: digits.csv, root: digits, image_column: picture, label_column: kind}",
        labels=12,
        upload=True,
        examples=json.dumps(examples),
    )
    process = typed.start("--oracle", "--pace", "0.2")
    typed.wait_until(lambda: typed.labeled() >= 1, process)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, typed.said()
    assert typed.nothing_runs()
    assert "Stopped. The same command goes on" in typed.said()
    typed.to_the_end("--oracle", "--pace", "0")
    find_the_export_right(typed, 12, truth(typed.folder / "digits"))
    human = rows(typed.state / "export" / "human" / "labels.csv")
    first = [row for row in human if row["annotators"] == "1"]  # the backend's own user
    assert {row["label"]: truth_of(typed, row) for row in first} == {
        name: typed.folder / "digits" / key for name, key in examples.items()
    }
    assert typed.nothing_runs()


def test_what_is_labeled_from_the_start_goes_straight_to_the_export(typed: Typed) -> None:
    typed.configure("{kind: folder, path: digits}", IMAGES + 1)
    assert "everything that can be is labeled" in typed.to_the_end()
    human = rows(typed.state / "export" / "human" / "labels.csv")
    true = truth(typed.folder / "digits")
    assert {row["content_hash"]: row["label"] for row in human} == true
    assert not rows(typed.state / "export" / "model" / "labels.csv")


def test_offline_the_same_through_three_kills(typed: Typed) -> None:
    typed.configure("{kind: folder, path: digits}", LABELS)
    rng = random.Random(os.environ.get("RUN_KILL_SEED", "3"))
    for at_least in (0, 1, LABELS // 2):
        process = typed.start("--offline")
        typed.wait_until(lambda: typed.labeled("offline") >= at_least, process)  # noqa: B023
        time.sleep(rng.uniform(0, 3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    told = typed.to_the_end("--offline")
    assert f"{LABELS} images are labeled" in told
    find_the_export_right(typed, LABELS, truth(typed.folder / "digits"))


def test_one_line_without_a_file_and_what_it_would_do(typed: Typed) -> None:
    words = ["run", "--images", "digits", "--offline", "--dry-run"]
    ended = subprocess.run(
        [*COMMAND, *words],
        env=base_environment(),
        cwd=typed.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{IMAGES} images, {IMAGES} with a known label, 3 classes: 1, 4, 7" in ended.stdout
    assert "Nothing was changed" in ended.stdout
    assert [each.name for each in typed.folder.iterdir()] == ["digits"]


if __name__ == "__main__":  # RUN_KILL_SEED=N python -m tests.e2e.test_run: kills at other moments
    sys.exit(pytest.main([__file__, "-x", "-k", "three_kills"]))
