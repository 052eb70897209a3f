"""How fast does the backend answer while a round runs beside it?

Starts the real gunicorn on a store with 100,000 tasks, keeps as many cores busy as are asked for,
and asks /health and /webhook on a new connection each, as Label Studio does. With --rewrite another
process writes the mirror without a pause, as a round does only while a project is first read.

    python -m benchmarks.serving --seconds 20 --busy 2 [--rewrite]
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.records import ChoiceControl, ProjectSettings, Task

PROJECT_ID = 7
SECRET = "only for this benchmark"
ANNOTATED = json.dumps(
    {
        "action": "ANNOTATION_CREATED",
        "annotation": {"id": 31, "task": 5, "result": [{"value": {"choices": ["cat"]}}]},
        "task": {"id": 5, "data": {"image": "/data/upload/1/a.png"}},
        "project": {"id": PROJECT_ID, "label_config": "<View>" + " " * 2000 + "</View>"},
    }
)
REQUESTS = {
    "/health": ("GET", "/health", None, {}),
    "/webhook": (
        "POST",
        f"/webhook?project={PROJECT_ID}",
        ANNOTATED,
        {"Content-Type": "application/json", "X-Active-Labeler-Secret": SECRET},
    ),
}


def main() -> None:
    """Measure, and print one line per route."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to ask each route")
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, help="busy processes")
    parser.add_argument("--per-second", type=float, default=20.0, help="requests to each route")
    parser.add_argument("--rewrite", action="store_true", help="write the mirror all the time")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = _prepare_store(folder)
        port = stack.enter_context(_gunicorn(folder))
        processes = multiprocessing.get_context("spawn")
        for target in [_burn] * arguments.busy + [_rewrite] * arguments.rewrite:
            process = processes.Process(target=target, args=(url,), daemon=True)
            process.start()
            stack.callback(process.kill)
        time.sleep(3)
        print(f"{arguments}, {os.cpu_count()} cores")
        for route in REQUESTS:
            took_ms = _ask(port, route, arguments.seconds, arguments.per_second)
            p50, p95, p99 = np.percentile(took_ms, [50, 95, 99])
            print(
                f"{route:9} {len(took_ms)} requests: p50 {p50:.1f} ms, p95 {p95:.1f} ms, "
                f"p99 {p99:.1f} ms, slowest {max(took_ms):.1f} ms"
            )


def _prepare_store(folder: Path) -> str:
    url = f"sqlite:///{folder / 'state.sqlite3'}"
    project = ConnectedProject(
        project_id=PROJECT_ID,
        label_studio_url="http://localhost:8080",
        title="Benchmark",
        control=ChoiceControl("choice", "image", "image", ("a", "b")),
        label_config_hash="",
        webhook_id=None,
        backend_id=None,
        backend_url="",
        secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
        found=ProjectSettings("Sequential sampling", "", True, False),
        connected_at=datetime.now(UTC),
    )
    with closing(Store.open(url)) as store:
        store.save_project(project)
        store.upsert_tasks(PROJECT_ID, _tasks(0))
    return url


def _tasks(turn: int) -> list[Task]:
    return [Task(number, f"/data/upload/{turn}/{number}.png") for number in range(1, 100_001)]


@contextmanager
def _gunicorn(folder: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "gunicorn", "--config", "python:ml_backend.web.gunicorn_conf"]
    command += ["--bind", f"127.0.0.1:{port}", "ml_backend.web.wsgi:app"]
    environment = {**os.environ, "MODEL_DIR": str(folder), "LOG_LEVEL": "WARNING"}
    server = subprocess.Popen(command, env=environment)
    try:
        _wait_until_up(port, server)
        yield port
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait_until_up(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            _request(port, "/health")
        except ConnectionRefusedError:
            if server.poll() is not None:
                raise SystemExit("gunicorn did not start") from None
            time.sleep(0.1)
        else:
            return
    raise SystemExit("gunicorn did not answer within a minute")


def _ask(port: int, route: str, seconds: float, per_second: float) -> list[float]:
    took_ms = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        _request(port, route)
        took_ms.append((time.perf_counter() - started) * 1000)
        time.sleep(1 / per_second)
    return took_ms


def _request(port: int, route: str) -> None:
    method, path, body, headers = REQUESTS[route]
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"{route}: {answer.status} {answer.read()!r}")
        answer.read()


def _burn(_url: str) -> None:
    """Do what a fit does to a core."""
    matrix = np.ones((400, 400))
    while True:
        matrix = matrix @ matrix / 400


def _rewrite(url: str) -> None:
    with closing(Store.open(url)) as store:
        for turn in range(1, 1_000_000):
            store.upsert_tasks(PROJECT_ID, _tasks(turn))


if __name__ == "__main__":
    main()
