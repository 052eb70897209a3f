"""A payload becomes an event with exactly the ids it names, or is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.exceptions import UnprocessableEntity

from ml_backend.records import WebhookEvent
from ml_backend.web.webhooks import ACTIONS, parse_event

from .builders import IDS, PAYLOADS

RECORDED = sorted((Path(__file__).parents[2] / "recorded" / "webhooks").glob("*.json"))


def test_every_event_of_label_studio_is_known() -> None:
    assert set(PAYLOADS) == set(ACTIONS)


@pytest.mark.parametrize("action", PAYLOADS)
@pytest.mark.parametrize("queried", [None, 7])
def test_payload_becomes_an_event_with_its_ids(action: str, queried: int | None) -> None:
    event = parse_event({"action": action, **PAYLOADS[action]}, queried)

    assert event == WebhookEvent(action, 7, *IDS[action])


@pytest.mark.parametrize("action", PAYLOADS)
def test_without_payload_the_url_says_the_project(action: str) -> None:
    assert parse_event({"action": action}, 7) == WebhookEvent(action, 7)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_payload_recorded_from_a_real_server_is_understood(path: Path) -> None:
    recorded = json.loads(path.read_text())
    payload = recorded.get("body", recorded)
    event = parse_event(payload, None if "project" in payload else 1)
    key_of_annotations, key_of_tasks = ACTIONS[payload["action"]]

    assert event.action == payload["action"]
    if "project" in payload:
        assert event.project_id == payload["project"]["id"]
    assert len(event.annotation_ids) == _number_of(payload, key_of_annotations)
    if key_of_tasks in payload:
        assert len(event.task_ids) == _number_of(payload, key_of_tasks)


def _number_of(payload: dict[str, Any], key: str | None) -> int:
    value = payload.get(key) if key else None
    return len(value) if isinstance(value, list) else int(value is not None)


def test_bare_annotation_still_tells_its_task() -> None:
    payload = {"action": "ANNOTATION_CREATED", "annotation": {"id": 31, "task": 5}}

    assert parse_event(payload, 7) == WebhookEvent("ANNOTATION_CREATED", 7, (5,), (31,))


def test_same_id_twice_is_kept_once() -> None:
    payload = {"action": "TASKS_CREATED", "tasks": [{"id": 6}, {"id": 5}, {"id": 6}]}

    assert parse_event(payload, 7).task_ids == (6, 5)


def test_action_of_a_later_label_studio_passes_without_ids() -> None:
    payload = {"action": "TASKS_SHUFFLED", "tasks": "whatever"}

    assert parse_event(payload, 7) == WebhookEvent("TASKS_SHUFFLED", 7)


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ({}, "action"),
        ({"action": None}, "action"),
        ({"action": ["TASKS_CREATED"]}, "action"),
        ({"action": ""}, "action"),
        ({"action": "tasks_created"}, "action"),
        ({"action": "TASKS_CREATED\n"}, "action"),
        ({"action": "X" * 65}, "action"),
        ({"action": "TASKS_CREATED", "project": 7}, "project"),
        ({"action": "TASKS_CREATED", "project": {}}, "project.id"),
        ({"action": "TASKS_CREATED", "project": {"id": "7"}}, "project.id"),
        ({"action": "TASKS_CREATED", "project": {"id": 8}}, "project 7"),
        ({"action": "TASKS_CREATED", "tasks": 5}, "tasks"),
        ({"action": "TASKS_CREATED", "tasks": [5]}, "tasks"),
        ({"action": "TASKS_CREATED", "tasks": [{}]}, "task.id"),
        ({"action": "TASKS_CREATED", "tasks": [{"id": True}]}, "task.id"),
        ({"action": "TASKS_CREATED", "tasks": [{"id": 5.0}]}, "task.id"),
        ({"action": "TASKS_CREATED", "tasks": [{"id": 0}]}, "task.id"),
        ({"action": "TASKS_CREATED", "tasks": [{"id": 2**63}]}, "task.id"),
        ({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": -1}]}, "annotation.id"),
        ({"action": "ANNOTATION_CREATED", "annotation": {"id": 1, "task": "5"}}, "task.id"),
    ],
)
def test_payload_that_label_studio_would_not_send_is_refused_by_name(
    payload: dict[str, Any], named: str
) -> None:
    with pytest.raises(UnprocessableEntity) as refused:
        parse_event(payload, 7)
    assert named in str(refused.value.description)


def test_event_of_no_project_is_refused() -> None:
    with pytest.raises(UnprocessableEntity, match="project"):
        parse_event({"action": "START_TRAINING"}, None)
