"""What doctor finds in a real Label Studio, healthy and broken one thing at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.connection import TITLE, Connection, Registration
from ml_backend.labelstudio.doctor import Expected, examine
from ml_backend.labelstudio.images import ImageReader
from ml_backend.labelstudio.labeling_config import parse_control
from ml_backend.labelstudio.labeling_queue import LabelingQueue
from ml_backend.records import Finding, QueueEntry, Task
from tests.integration.labelstudio.webhook_receiver import receiving
from tests.label_studio_server import LABEL_CONFIG, TestServer

pytestmark = pytest.mark.label_studio
SECRET = "secret-1"


@dataclass
class Loop:
    """A connected project with a published order."""

    server: TestServer
    client: LabelStudioClient
    project_id: int
    task_ids: list[int]
    ids: Registration
    expected: Expected

    def findings(self, expected: Expected | None = None) -> dict[str, Finding]:
        images = ImageReader(self.client, max_bytes=1000, timeout_s=5)
        found = examine(self.client, images, self.project_id, expected or self.expected)
        assert len({each.check for each in found}) == len(found)
        return {each.check: each for each in found}

    def change(self, **settings: Any) -> None:
        self.client.patch(f"/api/projects/{self.project_id}/", settings)


@pytest.fixture
def loop(label_studio: TestServer) -> Iterator[Loop]:
    client = LabelStudioClient(label_studio.url, label_studio.personal_access_token, 60)
    project_id = label_studio.project("a patient", LABEL_CONFIG)
    task_ids = label_studio.tasks(project_id, 12)
    order = list(reversed(task_ids))
    with receiving() as backend:
        ids = Connection(client, project_id).ensure(backend.url, SECRET)
        queue = LabelingQueue(client, project_id, parse_control(LABEL_CONFIG))
        queue.write(
            [QueueEntry(task, place, 12, "cat", 0.5) for place, task in enumerate(order)], "v1"
        )
        queue.flip("v1")
        expected = Expected(
            control_name="kind",
            backend_url=backend.url,
            secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
            model_version="v1",
            published=tuple(order),
        )
        yield Loop(label_studio, client, project_id, task_ids, ids, expected)
    client.close()


def test_a_healthy_loop_has_nothing_but_ok(loop: Loop) -> None:
    found = loop.findings()

    assert {name for name, each in found.items() if each.state != "ok"} == set()
    assert len(found) == 13


def test_an_annotated_task_does_not_make_the_order_look_wrong(loop: Loop) -> None:
    loop.server.annotate(loop.task_ids[5], "cat")

    assert loop.findings()["served order"].state == "ok"


def test_each_thing_that_breaks_is_named_alone(loop: Loop) -> None:
    def broken() -> set[str]:
        return {name for name, each in loop.findings().items() if each.state == "failure"}

    loop.change(sampling="Sequential sampling")
    assert broken() == {"sampling"}
    loop.change(sampling="Uncertainty sampling", model_version=TITLE)
    assert broken() == {"model version", "queue"}
    loop.change(model_version="v1")
    loop.client.patch(f"/api/webhooks/{loop.ids.webhook_id}/", {"is_active": False})
    assert broken() == {"webhook"}
    Connection(loop.client, loop.project_id).ensure(str(loop.expected.backend_url), "another")
    assert broken() == {"webhook"}
    Connection(loop.client, loop.project_id).ensure(str(loop.expected.backend_url), SECRET)
    assert broken() == set()
    loop.client.delete(f"/api/ml/{loop.ids.backend_id}")
    assert broken() == {"ML backend"}


def test_overlap_is_a_warning(loop: Loop) -> None:
    loop.change(maximum_annotations=2)

    found = loop.findings()["overlap"]
    assert found.state == "warning"
    assert "2 annotations" in found.detail


def test_an_order_other_than_the_published_is_named_with_its_place(loop: Loop) -> None:
    swapped = list(loop.expected.published)
    swapped[2], swapped[3] = swapped[3], swapped[2]

    found = loop.findings(replace(loop.expected, published=tuple(swapped)))["served order"]

    assert found.state == "failure"
    assert "at place 3" in found.detail


def test_unreadable_images_are_named_with_their_reason(loop: Loop) -> None:
    sample = (Task(loop.task_ids[0], "ftp://x/y.png"),)

    found = loop.findings(replace(loop.expected, sample=sample))["images"]

    assert found.state == "failure"
    assert f"task {loop.task_ids[0]}: addresses like" in found.detail


def test_a_backend_that_stopped_is_named(label_studio: TestServer, loop: Loop) -> None:
    with receiving() as other:
        Connection(loop.client, loop.project_id).ensure(other.url, SECRET)
        gone = other.url

    found = loop.findings(replace(loop.expected, backend_url=gone))["ML backend"]

    assert found.state == "failure"
    assert "cannot reach" in found.detail


def test_a_server_that_does_not_answer_ends_the_examination(loop: Loop) -> None:
    client = LabelStudioClient("http://127.0.0.1:1", "legacy", 1)
    images = ImageReader(client, max_bytes=1000, timeout_s=5)

    (only,) = examine(client, images, 1, Expected())

    assert (only.check, only.state) == ("Label Studio", "failure")
    assert "127.0.0.1:1" in only.detail


def test_a_revoked_token_is_said(loop: Loop) -> None:
    client = LabelStudioClient(loop.server.url, "0" * 40, 5)
    images = ImageReader(client, max_bytes=1000, timeout_s=5)

    found = {each.check: each for each in examine(client, images, loop.project_id, Expected())}

    assert found["Label Studio"].state == "ok" or "401" in found["Label Studio"].detail
    assert any(each.state == "failure" and "401" in each.detail for each in found.values())
