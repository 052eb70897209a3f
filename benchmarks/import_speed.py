"""How fast is an import, and does its memory stay flat?

A table of a million rows goes into the store by address, through everything but Label Studio
itself, in a process of its own whose peak memory is read; then again with a tenth of the rows, to
compare the two peaks. Then some thousand image files go into a real Label Studio, linked and
uploaded.

    python -m benchmarks.import_speed --rows 1000000 --images 5000 --docs docs/importing.md
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import httpx

from benchmarks.learning_curve_report import replace_between
from benchmarks.memory import peak_mb
from ml_backend.importing import ImportBench, ReadingRules, import_images
from ml_backend.jobs.store import Store
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.labeling_config import parse_control
from ml_backend.labelstudio.new_project import config_of_classes
from ml_backend.labelstudio.task_importer import NewTask, TaskImporter
from ml_backend.sources import open_source
from scripts.label_studio_content import create_project
from scripts.local_label_studio import LocalLabelStudio, find_label_studio, free_port

START, END = "<!-- import speed -->", "<!-- end of import speed -->"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
CLASSES = ("cat", "dog", "bird")


class NoLabelStudio:
    """Answers at once: what is left is the source, the store, and everything between."""

    def __init__(self) -> None:
        self._ids = count(1)

    def created_at(self) -> str:
        return "2030-01-01T00:00:00Z"

    def newest_task_id(self) -> int:
        return 0

    def send(self, tasks: Sequence[NewTask]) -> dict[str, int]:
        return {task.content_hash: next(self._ids) for task in tasks}

    def find(self, _hashes: Sequence[str], _after: int) -> dict[str, int]:
        return {}

    def upload(self, files: Sequence[tuple[str, bytes]]) -> list[str]:
        return [name for name, _ in files]

    def offer_local_files(self, _paths: Sequence[Path], _document_root: Path) -> None:
        """Nothing shows them."""


def main() -> None:
    """Measure, print the table, and put it into the docs."""
    options = _options()
    if options.only_rows:
        print(json.dumps(into_the_store(options.only_rows)))
        return
    lines = ["| what | images | images/s | peak memory |", "|---|---|---|---|"]
    for rows in (options.rows // 10, options.rows):
        told = _in_a_process(rows)
        lines.append(
            f"| a table of addresses into the store | {rows:,} | {told['per_second']:,.0f} | "
            f"{told['peak_mb']:.0f} MB |"
        )
        print(lines[-1], flush=True)
    for what, per_second in into_label_studio(options.images):
        lines.append(f"| {what} | {options.images:,} | {per_second:,.0f} | |")
        print(lines[-1], flush=True)
    if options.docs:
        day = datetime.now(UTC).date()
        replace_between(options.docs, START, END, "\n".join([*lines, "", f"({day})"]))


def into_the_store(rows: int) -> dict[str, float]:
    """Import a table of so many addresses by address; return the speed and this process's peak."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        with table.open("w") as file:
            file.write("uri,label\n")
            file.writelines(
                f"s3://bucket/images/{row:09}.jpg,{CLASSES[row % 3]}\n" for row in range(rows)
            )
        with closing(Store.open(f"sqlite:///{folder}/state.sqlite3")) as store:
            bench = _bench(store, NoLabelStudio())
            start = time.perf_counter()
            source = open_source({"kind": "csv", "path": table})
            report = import_images(bench, source, ReadingRules(by_address=True))
            took_s = time.perf_counter() - start
            assert report.imported == store.import_count(1) == rows
    return {"per_second": rows / took_s, "peak_mb": peak_mb()}


def into_label_studio(images: int) -> list[tuple[str, float]]:
    """Import so many files into a real Label Studio, linked and uploaded; return images/s."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_images(folder / "files" / "set", images)
        server = LocalLabelStudio(
            find_label_studio(),
            folder / "label-studio",
            free_port(),
            password="a-password-of-benchmarks",
            token=TOKEN,
            document_root=folder / "files",
        )
        server.start()
        try:
            return [
                ("files linked into Label Studio", _measured(server, folder, images, upload=False)),
                ("files uploaded to Label Studio", _measured(server, folder, images, upload=True)),
            ]
        finally:
            server.stop()


def _measured(server: LocalLabelStudio, folder: Path, images: int, *, upload: bool) -> float:
    config = config_of_classes(CLASSES)
    signed = {"Authorization": f"Token {TOKEN}"}
    with httpx.Client(base_url=server.url, headers=signed, timeout=120) as http:
        project_id = create_project(http, f"Upload is {upload}", config)
    client = LabelStudioClient(server.url, TOKEN, timeout_s=120)
    root = folder / "files"
    rules = ReadingRules(upload=upload, document_root=root)
    with closing(Store.open(f"sqlite:///{folder}/upload-{upload}.sqlite3")) as store:
        importer = TaskImporter(client, project_id, parse_control(config))
        bench = replace(_bench(store, importer), project_id=project_id, document_root=root)
        start = time.perf_counter()
        source = open_source({"kind": "folder", "path": root / "set"})
        report = import_images(bench, source, rules)
        took_s = time.perf_counter() - start
    client.close()
    assert report.imported == images
    return images / took_s


def _bench(store: Store, importer: NoLabelStudio | TaskImporter) -> ImportBench:
    return ImportBench(1, "http://localhost", store, importer, lambda: datetime.now(UTC))


def _write_images(folder: Path, images: int) -> None:
    """Write small files of distinct content, some kilobytes each."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(images):
        file = folder / CLASSES[number % 3] / f"{number:06}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)


def _in_a_process(rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.import_speed", "--only-rows", str(rows)]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(told.stdout))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table")
    parser.add_argument("--images", type=int, default=5_000, help="files into Label Studio")
    parser.add_argument("--docs", type=Path, help="Markdown file whose table to replace")
    parser.add_argument("--only-rows", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
