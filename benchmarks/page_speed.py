"""How long the admin's pages take with 100,000 tasks: python -m benchmarks.page_speed

Fills a store with tasks, annotations, rounds, jobs and an appraisal as large as one may be, starts
the real gunicorn on it, and asks for each view as a browser does. Prints the median and the 95th
percentile; --docs writes them between the marks in docs/admin-page.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import httpx

from ml_backend.appraisal_file import save_appraisal
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.records import Annotation, ChoiceControl, ProjectSettings, Task
from scripts.local_label_studio import free_port
from tests.unit.web.appraisals import appraisal

DOCS = Path(__file__).resolve().parents[1] / "docs" / "admin-page.md"
RESULTS = DOCS.parent / "results" / "page_speed.json"
BEGIN, END = "<!-- page_speed: begin -->", "<!-- page_speed: end -->"
LOGIN = ("admin", "benchmark")
CLASSES = tuple(f"class {row}" for row in range(20))
PROJECT = 7
VIEWS = {
    "projects": "/ui/",
    "project": f"/ui/projects/{PROJECT}/",
    "suspects": f"/ui/projects/{PROJECT}/suspects",
    "models": f"/ui/projects/{PROJECT}/models",
    "jobs, refreshed": f"/ui/projects/{PROJECT}/models/work",
    "setup": f"/ui/projects/{PROJECT}/setup",
    "a chart": f"/ui/projects/{PROJECT}/charts/curve.svg",
}


def fill(folder: Path, tasks: int, labeled: int, now: datetime) -> None:
    """Write a project of that size into a store and a MODEL_DIR."""
    store = Store.open(f"sqlite:///{folder / 'state.sqlite3'}")
    store.save_project(
        ConnectedProject(
            project_id=PROJECT,
            label_studio_url="http://127.0.0.1:9",
            title="A large project",
            control=ChoiceControl("class", "image", "image", CLASSES),
            label_config_hash="",
            webhook_id=1,
            backend_id=1,
            backend_url="http://127.0.0.1:9",
            secret_sha256="0" * 64,
            found=ProjectSettings("Sequential sampling", "", True, False),
            connected_at=now,
            audit_share=0.1,
        )
    )
    store.upsert_tasks(PROJECT, [Task(n, f"/data/upload/1/{n}.png") for n in range(1, tasks + 1)])
    ids = range(1, labeled + 1)
    answers = [Annotation(n, n, 1 + n % 5, CLASSES[n % len(CLASSES)]) for n in ids]
    store.replace_annotations(PROJECT, ids, answers)
    for number in range(2000):
        at = now - timedelta(seconds=10 * (2000 - number))
        round_id = store.start_round(PROJECT, at)
        report = {"labeled": 10 * number, "kept": 0.9, "timings_s": {"fit": 0.1}}
        version = f"active-labeler-{number}"
        store.finish_round(round_id, at, state="published", model_version=version, report=report)
        if number > 1900:
            store.add_version(PROJECT, version, round_id, at)
    store.beat("benchmark", now, "idle")
    store.close()
    made = appraisal(CLASSES, tasks=tasks)
    made["suspects"] = (made["suspects"] * 17)[:100]
    save_appraisal(folder / "projects" / str(PROJECT), made)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run `active-labeler serve` on a folder; yield its address."""
    port = free_port()
    settings = {
        "MODEL_DIR": str(folder),
        "PORT": str(port),
        "BASIC_AUTH_USER": LOGIN[0],
        "BASIC_AUTH_PASS": LOGIN[1],
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "LABEL_STUDIO_API_KEY": "x",
    }
    command = [sys.executable, "-m", "scripts.active_labeler", "serve"]
    with subprocess.Popen(command, env={**os.environ, **settings}) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url)
            yield url
        finally:
            process.terminate()


def _wait(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")


def measure(url: str, times: int) -> dict[str, dict[str, float]]:
    """Ask for each view, mixed, after a first time that is told apart; milliseconds."""
    found: dict[str, list[float]] = {name: [] for name in VIEWS}
    first: dict[str, float] = {}
    names = list(VIEWS) * times
    random.Random(0).shuffle(names)
    with httpx.Client(base_url=url, auth=LOGIN, timeout=60) as client:
        for name in [*VIEWS, *names]:
            start = time.perf_counter()
            answer = client.get(VIEWS[name])
            took_ms = 1000 * (time.perf_counter() - start)
            assert answer.status_code == 200, f"{name}: {answer.status_code}"
            if name in first:
                found[name].append(took_ms)
            else:
                first[name] = took_ms
    return {
        name: {
            "median_ms": round(median(values), 1),
            "p95_ms": round(sorted(values)[int(0.95 * (len(values) - 1))], 1),
            "first_ms": round(first[name], 1),
        }
        for name, values in found.items()
    }


def table(result: dict[str, object]) -> str:
    """Write the result for people."""
    views = result["views"]
    assert isinstance(views, dict)
    lines = ["| view | median | 95th percentile | the first time |", "| --- | --- | --- | --- |"]
    for name, row in views.items():
        times = (row[key] for key in ("median_ms", "p95_ms", "first_ms"))
        lines.append(f"| {name} | " + " | ".join(f"{each:.0f} ms" for each in times) + " |")
    lines.append("")
    lines.append(
        f"{result['tasks']:,} tasks, {result['labeled']:,} of them labeled, 2,000 rounds; "
        f"each view {result['times']} times, in mixed order; {result['machine']}."
    )
    return "\n".join(lines)


def main() -> None:
    """Fill, serve, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--labeled", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--docs", action="store_true", help="write docs/admin-page.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print("filling the store ...", file=sys.stderr)
        fill(Path(folder), chosen.tasks, chosen.labeled, datetime.now(UTC))
        with serving(Path(folder)) as url:
            views = measure(url, chosen.times)
    load = os.getloadavg()[0]
    machine = f"{os.cpu_count()} cores of {platform.machine()}, SQLite, load average {load:.1f}"
    result = {**vars(chosen), "machine": machine, "views": views}
    result.pop("docs")
    print(table(result))
    if chosen.docs:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        text = DOCS.read_text()
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        DOCS.write_text(f"{before}{BEGIN}\n{table(result)}\n{END}{after}")


if __name__ == "__main__":
    main()
