"""Shortest ways to the objects that the store's tests hand over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ml_backend.jobs.store import ConnectedProject
from ml_backend.records import Annotation, ChoiceControl, ProjectSettings, Task, WebhookEvent

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
SOON = NOW + timedelta(seconds=5)
LATER = NOW + timedelta(hours=1)


def project(project_id: int = 1, **changes: Any) -> ConnectedProject:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "label_studio_url": "http://localhost:8080",
        "title": "Cats & Dogs",
        "control": ChoiceControl("animal", "image", "image", ("cat", "dog")),
        "label_config_hash": "abc",
        "webhook_id": 7,
        "backend_id": None,
        "backend_url": "http://localhost:9090",
        "secret_sha256": "00" * 32,
        "found": ProjectSettings("Sequential sampling", "", True, False, {"was": [1, None]}),
        "connected_at": NOW,
    }
    return ConnectedProject(**fields | changes)


def event(
    project_id: int = 1, task_id: int = 1, action: str = "ANNOTATION_CREATED"
) -> WebhookEvent:
    return WebhookEvent(action, project_id, (task_id,), (100 + task_id,))


def tasks(*task_ids: int) -> list[Task]:
    return [Task(task_id, f"/data/upload/{task_id}.png") for task_id in task_ids]


def annotation(annotation_id: int, task_id: int, choice: str | None = "cat") -> Annotation:
    return Annotation(annotation_id, task_id, 3, choice, was_cancelled=choice is None)
