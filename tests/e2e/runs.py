"""`active-labeler run` as a person types it, and what its export must be."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml_backend.jobs.store import Store
from scripts.local_label_studio import free_port
from tests.e2e.processes import COMMAND, base_environment
from tests.label_studio_server import _executable

IMAGES_A_CLASS = 24
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
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "config.run"

    def configure(
        self,
        source: str,
        labels: int,
        upload: bool = False,
        examples: str = "{}",
        port: int | None = None,
    ) -> None:
        text = CONFIG.format(
            source=source,
            labels=labels,
            port=port or free_port(),
            upload=str(upload).lower(),
            examples=examples,
        )
        (self.folder / "config.yaml").write_text(text)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it in a process group of its own, which can be killed as one."""
        own = {"LABEL_STUDIO_EXECUTABLE": _executable(), "OMP_NUM_THREADS": 1, **self.environment}
        with (self.folder / "output.txt").open("a") as output:
            return subprocess.Popen(
                [*COMMAND, "run", "--config", "config.yaml", *arguments],
                env=base_environment(**own),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=_hear_ctrl_c,
            )

    def to_the_end(self, *arguments: str) -> str:
        """Run it; return all that it has said."""
        return self.end_of(self.start(*arguments))

    def end_of(self, process: subprocess.Popen[str]) -> str:
        """Wait for the end of what was started; return all that it has said."""
        try:
            code = process.wait(RUN_TIMEOUT_S)
        finally:
            kill(process)
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


def _hear_ctrl_c() -> None:
    # Whatever a shell starts with `&` ignores it, and hands that on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill(process: subprocess.Popen[str]) -> None:
    """End it by force where it has not ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def truth(folder: Path) -> dict[str, str]:
    """The class of each image, by the SHA-256 of its file."""
    files = folder.glob("*/*.png")
    return {hashlib.sha256(f.read_bytes()).hexdigest(): f.parent.name for f in files}


def find_the_export_right(typed: Typed, labels: int, true: Mapping[str, str]) -> None:
    """Human labels are the truth, every image is there once, and confidence means what it says.

    `true` has the class of each image, by the SHA-256 of its file.
    """
    export = typed.state / "export"
    human, model = rows(export / "human" / "labels.csv"), rows(export / "model" / "labels.csv")
    left_out = rows(export / "left_out.csv")
    assert len(human) == labels
    assert [row["label"] for row in human] == [true[row["content_hash"]] for row in human]
    everything = [row["content_hash"] for row in human + model]
    assert len(everything) + len(left_out) == len(true)
    assert set(everything) == set(true), "each image once, none lost, none twice"
    right = sum(row["label"] == true[row["content_hash"]] for row in model) / len(model)
    said = sum(float(row["confidence"]) for row in model) / len(model)
    assert abs(said - right) <= bound(said, len(model)), f"said {said:.3f}, was right {right:.3f}"


def bound(share: float, n: int) -> float:
    """Three standard errors of a share, by Laplace's estimate: 30 of 30 is not certain either."""
    estimate = (share * n + 1) / (n + 2)
    return 3 * math.sqrt(estimate * (1 - estimate) / n) + 1 / n
