"""`active-labeler run` as a person types it: from files to an export, through kills and Ctrl-C."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ml_backend.jobs.store import Store
from scripts.digits_images import write_digits
from scripts.local_label_studio import free_port
from tests.e2e.processes import COMMAND, base_environment
from tests.label_studio_server import _executable

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(900)]

CLASSES, IMAGES_A_CLASS = ("1", "4", "7"), 24
IMAGES = len(CLASSES) * IMAGES_A_CLASS
LABELS = 24
RUN_TIMEOUT_S = 500.0
# No download, and quick: what is tested is the way, not the network.
CONFIG = """
labeling:
  target: {{labels: {labels}}}
  examples: {examples}
data:
  holdout_share: 0.3
  source: {source}
model: {{backbone: scratch, device: cpu}}
project: {{label_studio_port: {port}, upload: {upload}}}
export: {{formats: [csv, folders, coco, huggingface, label-studio]}}
"""


@dataclass
class Typed:
    """A run in a folder of its own, as typed into a shell."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "config.run"

    def configure(
        self, source: str, labels: int = LABELS, upload: bool = False, examples: str = "{}"
    ) -> None:
        port, told = free_port(), str(upload).lower()
        text = CONFIG.format(
            source=source, labels=labels, port=port, upload=told, examples=examples
        )
        (self.folder / "config.yaml").write_text(text)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it in a process group of its own, which can be killed as one."""
        with (self.folder / "output.txt").open("a") as output:
            return subprocess.Popen(
                [*COMMAND, "run", "--config", "config.yaml", *arguments],
                env=base_environment(LABEL_STUDIO_EXECUTABLE=_executable(), OMP_NUM_THREADS=1),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def to_the_end(self, *arguments: str) -> str:
        """Run it; return all that it has said."""
        process = self.start(*arguments)
        try:
            code = process.wait(RUN_TIMEOUT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert code == 0, self.said()
        return self.said()

    def said(self) -> str:
        return (self.folder / "output.txt").read_text()

    def wait_until(self, true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        end = time.monotonic() + RUN_TIMEOUT_S
        while not true():
            assert process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.2)

    def labeled(self, where: str = "backend") -> int:
        database = self.state / where / "state.sqlite3"
        if not database.exists():
            return 0
        store = Store.open(f"sqlite:///{database}")
        try:
            return sum(store.counts(each.project_id).labeled for each in store.projects())
        finally:
            store.close()

    def nothing_runs(self) -> bool:
        """Whether the last of its processes has let go of the lock."""
        with (self.state / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few digits, one subfolder a class."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder / "all", size_px=32)
    for name in CLASSES:
        (folder / "few" / name).mkdir(parents=True)
        for file in sorted((folder / "all" / name).iterdir())[:IMAGES_A_CLASS]:
            shutil.copy(file, folder / "few" / name)
    return folder / "few"


@pytest.fixture
def typed(few_digits: Path, tmp_path: Path) -> Typed:
    """A folder with the digits beside what is typed there."""
    shutil.copytree(few_digits, tmp_path / "digits")
    return Typed(tmp_path)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def truth(folder: Path) -> dict[str, str]:
    """The class of each image, by the SHA-256 of its file."""
    files = folder.glob("*/*.png")
    return {hashlib.sha256(f.read_bytes()).hexdigest(): f.parent.name for f in files}


def truth_of(typed: Typed, row: dict[str, str]) -> Path:
    """The file of the source that a row of the export is about."""
    files = typed.folder.glob("digits/*/*.png")
    return next(
        f for f in files if hashlib.sha256(f.read_bytes()).hexdigest() == row["content_hash"]
    )


def find_the_export_right(typed: Typed, labels: int) -> None:
    """Human labels are the truth, every image is there once, and confidence means what it says."""
    export, true = typed.state / "export", truth(typed.folder / "digits")
    human, model = rows(export / "human" / "labels.csv"), rows(export / "model" / "labels.csv")
    left_out = rows(export / "left_out.csv")
    assert len(human) == labels
    assert [row["label"] for row in human] == [true[row["content_hash"]] for row in human]
    everything = [row["content_hash"] for row in human + model]
    assert len(everything) + len(left_out) == IMAGES
    assert set(everything) == set(true), "each image once, none lost, none twice"
    right = sum(row["label"] == true[row["content_hash"]] for row in model) / len(model)
    said = sum(float(row["confidence"]) for row in model) / len(model)
    assert abs(said - right) <= bound(said, len(model)), f"said {said:.3f}, was right {right:.3f}"


def bound(share: float, n: int) -> float:
    """Three standard errors of a share, by Laplace's estimate: 30 of 30 is not certain either."""
    estimate = (share * n + 1) / (n + 2)
    return 3 * math.sqrt(estimate * (1 - estimate) / n) + 1 / n


def test_a_folder_is_labeled_through_three_kills_and_nothing_is_lost_or_doubled(
    typed: Typed,
) -> None:
    typed.configure("{kind: folder, path: digits}")
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
    find_the_export_right(typed, LABELS)
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
    find_the_export_right(typed, 12)
    human = rows(typed.state / "export" / "human" / "labels.csv")
    first = [row for row in human if row["annotators"] == "1"]  # the backend's own user
    assert {row["label"]: truth_of(typed, row) for row in first} == {
        name: typed.folder / "digits" / key for name, key in examples.items()
    }
    assert typed.nothing_runs()


def test_offline_the_same_through_three_kills(typed: Typed) -> None:
    typed.configure("{kind: folder, path: digits}")
    rng = random.Random(os.environ.get("RUN_KILL_SEED", "3"))
    for at_least in (0, 1, LABELS // 2):
        process = typed.start("--offline")
        typed.wait_until(lambda: typed.labeled("offline") >= at_least, process)  # noqa: B023
        time.sleep(rng.uniform(0, 3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    told = typed.to_the_end("--offline")
    assert f"{LABELS} images are labeled" in told
    find_the_export_right(typed, LABELS)


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
