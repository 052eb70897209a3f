"""What a real Label Studio sends for each action is still what tests elsewhere were written to.

With RECORD_WEBHOOKS=1 the payloads in tests/recorded/webhooks are written anew.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.connection import BASIC_AUTH_USER, EVENTS, SECRET_HEADER, Connection
from tests.integration.labelstudio.webhook_receiver import Receiver, receiving
from tests.label_studio_server import TestServer

pytestmark = pytest.mark.label_studio

RECORDED = Path(__file__).resolve().parents[2] / "recorded" / "webhooks"
SECRET = "a-secret-of-tests"
BASIC = base64.b64encode(f"{BASIC_AUTH_USER}:{SECRET}".encode()).decode()
# Blanked in recordings: they are nobody's business, and differ from run to run.
PRIVATE = ("token", "task_data_login", "task_data_password", "email", "username", "first_name")
PRIVATE_SUFFIX = ("created_username", "last_name", "phone", "avatar", "initials")


def blanked(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: blanked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [blanked(inner, key) for inner in value]
    if key in PRIVATE + PRIVATE_SUFFIX and isinstance(value, str) and value:
        return "(blank)"
    return value


def shape(value: Any) -> Any:
    """The names and kinds in a payload, without its values; null fits anything."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def region(choice: str) -> dict[str, Any]:
    return {
        "from_name": "kind",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [choice]},
    }


def record(server: TestServer, receiver: Receiver) -> dict[str, Any]:
    """Do each action once, and return what came, by the name it is recorded under."""
    project_id = server.project("webhooks")
    client = LabelStudioClient(server.url, server.personal_access_token, timeout_s=60)
    Connection(client, project_id).ensure(receiver.url, SECRET)
    client.close()
    taken: dict[str, Any] = {}

    def act(name: str, action: Callable[[], Any]) -> Any:
        before = len(receiver.events())
        result = action()
        new = receiver.events()[before:]
        action_name = name.removesuffix(".skip").removesuffix(".bulk")
        matching = [each for each in new if each.body["action"] == action_name]
        assert len(matching) == 1, (name, [each.body["action"] for each in new])
        if action_name == "START_TRAINING":  # comes from the backend's button, not by webhook
            assert matching[0].headers["authorization"] == f"Basic {BASIC}"
            assert matching[0].path == "/webhook"
        else:
            assert matching[0].headers[SECRET_HEADER.lower()] == SECRET
            assert matching[0].path == f"/webhook?project={project_id}"
        taken[name] = blanked(matching[0].body)
        return result

    made = act("TASKS_CREATED", lambda: server.tasks(project_id, 3))
    answer = act("ANNOTATION_CREATED", lambda: server.annotate(made[0], "cat"))
    act("ANNOTATION_CREATED.skip", lambda: server.annotate(made[1], None, skip=True))
    changed = {"result": [region("bird")]}
    act(
        "ANNOTATION_UPDATED",
        lambda: server.http.patch(f"/api/annotations/{answer}/", json=changed).raise_for_status(),
    )
    predicted = {"task": made[2], "result": [region("cat")], "score": 0.5, "model_version": "v"}
    server.http.post("/api/predictions/", json=predicted).raise_for_status()
    chosen = {"selectedItems": {"all": False, "included": [made[2]]}}
    bulk = f"/api/dm/actions/?id=predictions_to_annotations&project={project_id}"
    act("ANNOTATIONS_CREATED", lambda: server.http.post(bulk, json=chosen).raise_for_status())
    act(
        "ANNOTATIONS_DELETED",
        lambda: server.http.delete(f"/api/annotations/{answer}/").raise_for_status(),
    )
    gone = {"selectedItems": {"all": False, "included": [made[2]]}}
    wipe = f"/api/dm/actions/?id=delete_tasks_annotations&project={project_id}"
    act("ANNOTATIONS_DELETED.bulk", lambda: server.http.post(wipe, json=gone).raise_for_status())
    act("TASKS_DELETED", lambda: server.http.delete(f"/api/tasks/{made[0]}/").raise_for_status())
    renamed = {"description": "changed"}
    act(
        "PROJECT_UPDATED",
        lambda: server.http.patch(f"/api/projects/{project_id}/", json=renamed).raise_for_status(),
    )
    backend = server.http.get("/api/ml", params={"project": project_id}).json()[0]["id"]
    act("START_TRAINING", lambda: server.http.post(f"/api/ml/{backend}/train").raise_for_status())
    return taken


def test_label_studio_sends_what_was_recorded(label_studio: TestServer) -> None:
    with receiving() as receiver:
        taken = record(label_studio, receiver)

    if os.environ.get("RECORD_WEBHOOKS"):
        RECORDED.mkdir(parents=True, exist_ok=True)
        for name, body in taken.items():
            (RECORDED / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n")
    recorded = {path.stem: json.loads(path.read_text()) for path in RECORDED.glob("*.json")}
    assert set(recorded) == set(taken)
    assert {name.split(".")[0] for name in recorded} == {*EVENTS, "START_TRAINING"}
    for name, body in taken.items():
        assert shape(body) == shape(recorded[name]), name
