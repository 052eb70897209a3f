"""How long does an annotation take to reorder the queue, on a real Label Studio?

Starts Label Studio, `active-labeler serve` and `active-labeler train`, makes a project of N tasks
(scikit-learn's digits, each with its own noise, from local files), connects it, and annotates as a
person would: ask for the next task, think, submit. The latency of an annotation is the time from
its POST to the moment from which a request for the next task can get an order that knows of it.
Every part of it is printed, and the sizes are compared: the cost of a round must not grow with the
project.

    python -m benchmarks.latency --sizes 1000 10000 --annotations 60
    python -m benchmarks.latency --backbone squeezenet1_1 --weights squeezenet1_1.pth
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from scripts.digits_images import render_digit
from scripts.label_studio_content import create_project, import_tasks, mint_personal_access_token
from scripts.local_label_studio import LocalLabelStudio, find_label_studio, free_port

PASSWORD, TOKEN = "only-for-this-benchmark", "0" * 39 + "7"
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="digit" toName="image">'
    + "".join(f'<Choice value="{digit}"/>' for digit in range(10))
    + "</Choices></View>"
)
# The parts of one annotation's latency, in their order. `wait`: from the stored event to the start
# of the round that answers it, which is another round's end where one is at work.
PARTS = ("submit", "wait", "collect", "embed", "situate", "fit", "score", "rank", "publish")
TASKS_PER_IMPORT = 1000


@dataclass(frozen=True)
class Answered:
    """One annotation and the round that first knew of it; seconds."""

    total: float
    next_task: float
    parts: dict[str, float]


def main() -> None:
    """Measure each size and print a table; --out keeps the raw numbers."""
    arguments = _arguments()
    results = {}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="latency-") as folder, ExitStack() as stack:
            stand = Stand(Path(folder), arguments, stack)
            project_id = stand.project(size)
            stand.connect(project_id)
            results[size] = stand.measure(project_id, arguments.annotations, arguments.think_s)
        print(_table({size: results[size]}), flush=True)
    print(f"\n{_machine()}\n{_table(results)}")
    if arguments.out:
        raw = {size: [asdict(each) for each in answers] for size, answers in results.items()}
        arguments.out.write_text(json.dumps({"machine": _machine(), "answers": raw}, indent=1))


class Stand:
    """A Label Studio with our two processes beside it."""

    def __init__(self, folder: Path, arguments: argparse.Namespace, stack: ExitStack) -> None:
        self.folder, self.files = folder, folder / "files"
        self.files.mkdir()
        (folder / "label-studio").mkdir()
        self.server = LocalLabelStudio(
            find_label_studio(),
            folder / "label-studio",
            free_port(),
            password=PASSWORD,
            token=TOKEN,
            bulk_import=arguments.efficient_import,
            document_root=self.files,
        )
        self.server.start()
        stack.callback(self.server.stop)
        headers = {"Authorization": f"Token {TOKEN}"}
        self.http = stack.enter_context(
            httpx.Client(base_url=self.server.url, headers=headers, timeout=600)
        )
        self.port = free_port()
        self.environment = {**os.environ, **self._settings(arguments)}
        self._stack = stack
        self._run("serve")

    def project(self, size: int) -> int:
        """Make a project of `size` tasks, each with its own image on disk."""
        project_id = create_project(self.http, f"latency at {size}", CONFIG)
        storage = {"project": project_id, "path": str(self.files / "digits"), "use_blob_urls": True}
        names = _write_images(self.files / "digits", size)
        self.http.post("/api/storages/localfiles", json=storage).raise_for_status()
        addresses = [f"/data/local-files/?d=digits/{name}" for name in names]
        for start in track(range(0, size, TASKS_PER_IMPORT), f"importing {size} tasks"):
            some = addresses[start : start + TASKS_PER_IMPORT]
            import_tasks(self.http, project_id, [{"data": {"image": each}} for each in some])
        return project_id

    def connect(self, project_id: int) -> None:
        """Connect with the command line, then start the trainer."""
        command = ["connect", "--project", str(project_id)]
        command += ["--backend-url", f"http://127.0.0.1:{self.port}"]
        subprocess.run(self._command(*command), env=self.environment, check=True)
        self._run("train")
        self._wait_for_the_trainer()

    def measure(self, project_id: int, annotations: int, think_s: float) -> list[Answered]:
        """Annotate at a person's pace, then find the round that answered each annotation."""
        sent = []
        for _ in track(range(annotations), "annotating"):
            sent.append(self._annotate_next(project_id))
            time.sleep(think_s)
        time.sleep(10)  # the last round
        rounds = list(self._rounds(project_id))
        return [_answered(start, end, ask, rounds) for start, end, ask in sent]

    def _annotate_next(self, project_id: int) -> tuple[float, float, float]:
        """Return when the submit began and ended, and how long asking for the task took."""
        asked = time.time()
        reply = self.http.post(f"/api/dm/actions/?id=next_task&project={project_id}", json={})
        reply.raise_for_status()
        task = reply.json()
        start = time.time()
        digit = task["data"]["image"].rsplit("-", 1)[1].removesuffix(".png")
        region = {"from_name": "digit", "to_name": "image", "type": "choices"}
        result = [{**region, "value": {"choices": [digit]}}]
        self.http.post(
            f"/api/tasks/{task['id']}/annotations/", json={"result": result}
        ).raise_for_status()
        return start, time.time(), start - asked

    def _wait_for_the_trainer(self) -> None:
        """Wait until its network is loaded: a restart is not what is measured."""
        status = self._command("status", "--json")
        for _ in range(120):
            answer = subprocess.run(status, env=self.environment, check=True, capture_output=True)
            if json.loads(answer.stdout)["trainers"]:
                return
            time.sleep(1)
        raise RuntimeError("the trainer did not come up within two minutes")

    def _rounds(self, project_id: int) -> Iterator[dict[str, Any]]:
        from ml_backend.jobs.store import Store

        store = Store.open(f"sqlite:///{self.folder / 'data' / 'state.sqlite3'}")
        for record in reversed(store.rounds(project_id, limit=10_000)):
            if record.state == "published" and "in_force_at" in record.report:
                in_force = datetime.fromisoformat(record.report["in_force_at"]).timestamp()
                yield {
                    "start": record.started_at.timestamp(),
                    "in_force": in_force,
                    **record.report["timings_s"],
                }
        store.close()

    def _run(self, command: str) -> None:
        process = subprocess.Popen(
            self._command(command), env=self.environment, stderr=self._log(command)
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)

    def _log(self, name: str) -> Any:
        return self._stack.enter_context((self.folder / f"{name}.log").open("w"))

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "scripts.active_labeler", *words]

    def _settings(self, arguments: argparse.Namespace) -> dict[str, str]:
        token = mint_personal_access_token(self.server.url, self.server.username, PASSWORD)
        return {
            "LABEL_STUDIO_URL": self.server.url,
            "LABEL_STUDIO_API_KEY": token,
            "MODEL_DIR": str(self.folder / "data"),
            "PORT": str(self.port),
            "ACTIVE_LABELER_BACKBONE": arguments.backbone,
            "ACTIVE_LABELER_WEIGHTS": arguments.weights,
        }


def _answered(start: float, end: float, ask: float, rounds: Sequence[dict[str, Any]]) -> Answered:
    """Find the first round that began after the event was stored (inside the submit)."""
    answer = next(one for one in rounds if one["in_force"] > start and one["start"] > start)
    parts = {name: float(answer.get(name, 0.0)) for name in PARTS}
    parts["submit"] = min(end, answer["start"]) - start
    parts["wait"] = max(0.0, answer["start"] - end)
    return Answered(answer["in_force"] - start, ask, parts)


def _write_images(folder: Path, size: int) -> list[str]:
    """Write `size` different digits as PNGs and return their names, which end in the class."""
    from sklearn.datasets import load_digits

    folder.mkdir()
    digits, rng = load_digits(), np.random.default_rng(0)
    names = []
    for number in track(range(size), f"drawing {size} images"):
        row = number % len(digits.target)
        noisy_HW: NDArray[np.float64] = np.clip(
            digits.images[row] + rng.normal(0, 1, (8, 8)), 0, 16
        )
        names.append(f"{number:06d}-{digits.target[row]}.png")
        render_digit(noisy_HW, 64).save(folder / names[-1])
    return names


def _table(results: dict[int, list[Answered]]) -> str:
    lines = ["| tasks | | total | next task | " + " | ".join(PARTS) + " |"]
    lines.append("|---" * (len(PARTS) + 4) + "|")
    for size, answers in results.items():
        for name, percentile in (("p50", 50), ("p95", 95)):
            columns = [[each.total for each in answers], [each.next_task for each in answers]]
            columns += [[each.parts[part] for each in answers] for part in PARTS]
            cells = [f"{np.percentile(column, percentile):.2f}" for column in columns]
            lines.append(f"| {size:,} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n(seconds; parts are percentiles of their own and do not add up)"


def _machine() -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, Label Studio's own server on SQLite"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000], help="tasks")
    parser.add_argument("--annotations", type=int, default=60)
    parser.add_argument("--think-s", type=float, default=3.0, help="between two annotations")
    parser.add_argument("--backbone", default="scratch")
    parser.add_argument("--weights", default="DEFAULT")
    parser.add_argument(
        "--efficient-import", action="store_true", help="a server with the efficient bulk import"
    )
    parser.add_argument("--out", type=Path, help="JSON with every annotation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
