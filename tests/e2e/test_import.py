"""Importing into a real Label Studio: killed again and again, and every image is there once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import wait_until
from tests.label_studio_server import TestServer
from tests.unit.sources.pictures import png

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(600)]

IMAGES, CLASSES = 3000, ("cat", "dog & <b>", "$5 'bird'")
KILLS = 3
OTHER_CONFIG = (
    '<View><Image name="picture" value="$photo"/><Choices name="what" toName="picture">'
    '<Choice value="cat"/><Choice value="hound"/></Choices></View>'
)


@dataclass
class Importer:
    """The command line, aimed at a Label Studio, with a state of its own."""

    server: TestServer
    state: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        root = self.server.process.document_root
        environment = {
            **os.environ,
            "LABEL_STUDIO_URL": self.server.url,
            "LABEL_STUDIO_API_KEY": self.server.personal_access_token,
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
            "MODEL_DIR": str(self.state),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.active_labeler", "import", *arguments, "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> dict[str, Any]:
        process = self.start(*arguments)
        answer, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return dict(json.loads(answer))

    def killed_at_work(self, project_id: int, delay_s: float, *arguments: str) -> int:
        """Kill an import soon after it has brought something; return how many tasks there are."""
        before = self.server.count(project_id)
        process = self.start(*arguments)
        wait_until(lambda: self.server.count(project_id) > before, "tasks that came", 120)
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return self.server.count(project_id)

    def tasks(self, project_id: int) -> list[dict[str, Any]]:
        """All tasks with their annotations, as Label Studio exports them."""
        answer = self.server.http.get(
            f"/api/projects/{project_id}/export",
            params={"exportType": "JSON", "download_all_tasks": "true"},
        )
        answer.raise_for_status()
        return list(answer.json())


@pytest.fixture
def importer(label_studio: TestServer, tmp_path: Path) -> Importer:
    return Importer(label_studio, tmp_path / "state")


@pytest.fixture
def images(label_studio: TestServer) -> Path:
    """A folder of distinct images by class, below Label Studio's document root."""
    root = label_studio.process.document_root
    assert root is not None
    folder = root / f"import {time.monotonic_ns()}"
    for number in range(IMAGES):
        file = folder / CLASSES[number % len(CLASSES)] / f"{number:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(number))
    return folder


def labels_of(tasks: list[dict[str, Any]]) -> dict[str, str]:
    """The class of each task by its key."""
    return {
        task["meta"]["active_labeler"]["key"]: region["value"]["choices"][0]
        for task in tasks
        for annotation in task["annotations"]
        for region in annotation["result"]
    }


def test_an_import_that_is_killed_again_and_again_loses_and_doubles_nothing(
    importer: Importer, images: Path
) -> None:
    arguments = ("--images", str(images), "--new-project", f"Killed {time.monotonic_ns()}")
    first = importer.run(*arguments, "--limit", "100")
    chance = random.Random(0)
    counts = [
        importer.killed_at_work(first["project"], chance.uniform(0, 0.3), *arguments)
        for _ in range(KILLS)
    ]
    assert counts[0] < IMAGES, "the first kill came too late to show anything"

    last = importer.run(*arguments)

    tasks = importer.tasks(first["project"])
    hashes = Counter(task["meta"]["active_labeler"]["hash"] for task in tasks)
    assert last["imported"] + last["known"] == IMAGES
    assert len(hashes) == len(tasks) == IMAGES
    wanted = {f"{CLASSES[n % 3]}/{n:05}.png": CLASSES[n % 3] for n in range(IMAGES)}
    assert labels_of(tasks) == wanted
    shown = importer.server.http.get(tasks[0]["data"]["image"])
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")


def test_uploaded_images_can_be_seen_and_hidden_labels_cannot(
    importer: Importer, images: Path
) -> None:
    title = f"Hidden {time.monotonic_ns()}"
    arguments = ("--images", str(images), "--new-project", title, "--upload", "--labels", "hide")

    report = importer.run(*arguments, "--limit", "60")
    tasks = importer.tasks(report["project"])

    assert (report["imported"], report["labeled"], len(tasks)) == (60, 60, 60)
    whole = json.dumps(tasks)
    assert not [name for name in CLASSES if json.dumps(name)[1:-1] in whole]
    shown = importer.server.http.get(tasks[5]["data"]["image"])
    assert shown.content in {png(number) for number in range(IMAGES)}


def test_another_project_is_a_source_with_its_annotations(importer: Importer) -> None:
    server = importer.server
    origin = server.project("an origin")
    images = importer.state.parent / "uploaded"
    images.mkdir()
    for number in range(3):
        (images / f"{number}.png").write_bytes(png(number))
    ids = server.uploaded(origin, sorted(images.iterdir()))
    server.annotate(ids[1], "hound")
    target = server.project("a target", OTHER_CONFIG)

    report = importer.run("--from-project", str(origin), "--project", str(target), "--upload")

    assert (report["imported"], report["labeled"]) == (3, 1)
    assert labels_of(importer.tasks(target)) == {f"task-{ids[1]}": "hound"}


def test_images_outside_the_document_root_are_refused_with_what_to_do(
    importer: Importer, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(png())
    process = importer.start(
        "--images", str(tmp_path / "elsewhere"), "--new-project", "Elsewhere", "--classes", "a,b"
    )

    _, said = process.communicate(timeout=120)

    assert process.returncode == 2
    assert "--upload" in said
