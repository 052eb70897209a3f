"""A real Label Studio for tests: one server for the whole run, one project for each test.

Where Label Studio is not installed the tests that need it are skipped, loudly; in CI they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from scripts.label_studio_content import (
    create_project,
    create_user,
    import_tasks,
    mint_personal_access_token,
    signed_in,
    upload_images,
)
from scripts.local_label_studio import (
    LabelStudioNotInstalled,
    LocalLabelStudio,
    find_label_studio,
    free_port,
)

PASSWORD = "a-password-of-tests"
SECOND = "second@example.org"
LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"

LABEL_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Choices name="kind" toName="image" choice="single">
    <Choice value="cat"/><Choice value="dog" alias="hound"/><Choice value="bird"/>
  </Choices>
</View>"""


@dataclass(frozen=True)
class TestServer:
    """A running Label Studio, with what it takes to speak to it as its admin."""

    __test__ = False  # not a test class, whatever its name says to pytest

    process: LocalLabelStudio
    personal_access_token: str
    http: httpx.Client  # the admin, by legacy token

    @property
    def url(self) -> str:
        return self.process.url

    def project(self, title: str = "a test", label_config: str = LABEL_CONFIG) -> int:
        """Make an empty project; return its id."""
        return create_project(self.http, title, label_config)

    def tasks(self, project_id: int, n: int) -> list[int]:
        """Import n tasks with distinct image addresses that lead nowhere; return their ids."""
        addresses = [f"http://images.invalid/{i}.png" for i in range(n)]
        import_tasks(self.http, project_id, [{"data": {"image": each}} for each in addresses])
        return self.task_ids(project_id)

    def uploaded(self, project_id: int, images: Sequence[Path]) -> list[int]:
        """Upload image files as tasks; return the ids of all tasks."""
        upload_images(self.http, project_id, images)
        return self.task_ids(project_id)

    def task_ids(self, project_id: int) -> list[int]:
        answer = self.http.get(
            "/api/tasks",
            params={
                "project": project_id,
                "fields": "task_only",
                "include": "id",
                "page_size": 20_000,
            },
        )
        answer.raise_for_status()
        return sorted(task["id"] for task in answer.json()["tasks"])

    def count(self, project_id: int) -> int:
        """Say how many tasks there are."""
        answer = self.http.get(f"/api/projects/{project_id}/", params={"include": "task_number"})
        answer.raise_for_status()
        return int(answer.json()["task_number"])

    def annotate(
        self, task_id: int, choice: str | None, *, skip: bool = False, control: str = "kind"
    ) -> int:
        """Annotate (or skip) a task as a person would; return the annotation's id."""
        region = {
            "from_name": control,
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [choice]},
        }
        answer = self.http.post(
            f"/api/tasks/{task_id}/annotations/",
            json={"result": [] if choice is None else [region], "was_cancelled": skip},
        )
        answer.raise_for_status()
        return int(answer.json()["id"])

    @contextmanager
    def second_annotator(self) -> Iterator[httpx.Client]:
        """Yield the session of somebody who is not the admin."""
        with signed_in(self.url, SECOND, PASSWORD) as client:
            yield client

    def next_task(self, project_id: int) -> int | None:
        """Ask for the next task as *Label All Tasks* does. Takes a lock, as it does for people."""
        answer = self.http.post(f"/api/dm/actions/?id=next_task&project={project_id}", json={})
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return int(answer.json()["id"])


def small_png(colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A 16 x 16 image of one colour."""
    buffer = BytesIO()
    Image.new("RGB", (16, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _executable() -> Path:
    try:
        return find_label_studio()
    except LabelStudioNotInstalled as reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs Label Studio: {reason}")
        pytest.skip(f"NO LABEL STUDIO, so nothing of this is tested: {reason}")


@contextmanager
def _running(folder: Path, *, bulk_import: bool) -> Iterator[TestServer]:
    server = LocalLabelStudio(
        _executable(),
        folder,
        free_port(),
        password=PASSWORD,
        token=LEGACY_TOKEN,
        bulk_import=bulk_import,
        document_root=folder / "files",
    )
    (folder / "files").mkdir()
    server.start()
    headers = {"Authorization": f"Token {LEGACY_TOKEN}"}
    try:
        create_user(server.url, (server.username, PASSWORD), SECOND, PASSWORD)
        token = mint_personal_access_token(server.url, server.username, PASSWORD)
        with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:
            yield TestServer(server, token, http)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    """A running Label Studio as it comes: its bulk import recounts the whole project."""
    with _running(tmp_path_factory.mktemp("label-studio"), bulk_import=False) as server:
        yield server


@pytest.fixture(scope="session")
def bulk_label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    """A second Label Studio, whose bulk import is the efficient one."""
    with _running(tmp_path_factory.mktemp("label-studio-bulk"), bulk_import=True) as server:
        yield server
