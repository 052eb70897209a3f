"""An app with one connected project (number 7), and requests as Label Studio sends them."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.records import ChoiceControl, ProjectSettings
from ml_backend.web.services import WebServices

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "the secret of project 7"
OTHER_SECRET = "the secret of project 8"
ADMIN = ("admin", "pässword:with a colon")
MAX_REQUEST_BYTES = 100_000


def project(project_id: int, secret: str, **changes: Any) -> ConnectedProject:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "label_studio_url": "http://localhost:8080",
        "title": "Cats & Dogs",
        "control": ChoiceControl("animal", "image", "image", ("cat", "dog")),
        "label_config_hash": "abc",
        "webhook_id": 7,
        "backend_id": 8,
        "backend_url": "http://localhost:9090",
        "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "found": ProjectSettings("Sequential sampling", "", True, False),
        "connected_at": NOW,
    }
    return ConnectedProject(**fields | changes)


def predict_nothing(_project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"result": [], "score": 1.0, "model_version": "v1", "of": t["id"]} for t in tasks]


def services(folder: Path, **changes: Any) -> WebServices:
    fields: dict[str, Any] = {
        "clock": lambda: NOW,
        "basic_auth": ADMIN,
        "max_request_bytes": MAX_REQUEST_BYTES,
        "predict": predict_nothing,
        "backend_version": "0.0.test",
    }
    fields |= changes
    if "store" not in fields:
        fields["store"] = Store.open(f"sqlite:///{folder / 'state.sqlite3'}")
        fields["store"].save_project(project(7, SECRET, current_version="v1"))
        fields["store"].save_project(project(8, OTHER_SECRET))
    return WebServices(**fields)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def header(secret: str) -> dict[str, str]:
    return {"X-Active-Labeler-Secret": secret}


# Shapes of a real server's payloads, cut down to what decides; the recorded ones are read as well.
PROJECT = {"id": 7, "title": "Cats & Dogs", "token": "hush", "task_data_password": "hush"}
TASK = {"id": 5, "data": {"image": "/data/upload/1/a.png"}, "project": 7, "annotations": []}
ANNOTATION = {"id": 31, "task": 5, "project": 7, "was_cancelled": False, "result": []}
PAYLOADS: dict[str, dict[str, Any]] = {
    "ANNOTATION_CREATED": {"annotation": ANNOTATION, "task": TASK, "project": PROJECT},
    "ANNOTATION_UPDATED": {"annotation": ANNOTATION, "task": TASK, "project": PROJECT},
    "ANNOTATIONS_CREATED": {
        "annotation": [ANNOTATION, {**ANNOTATION, "id": 32, "task": 6}],
        "task": [TASK, {**TASK, "id": 6}],
        "project": PROJECT,
    },
    "ANNOTATIONS_DELETED": {"annotations": [{"id": 31}, {"id": 32}], "project": PROJECT},
    "TASKS_CREATED": {"tasks": [TASK, {**TASK, "id": 6}], "project": PROJECT},
    "TASKS_DELETED": {"tasks": [{"id": 5}, {"id": 6}], "project": PROJECT},
    "PROJECT_UPDATED": {"project": PROJECT},
    "START_TRAINING": {"project": PROJECT},
}
IDS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {  # tasks, annotations
    "ANNOTATION_CREATED": ((5,), (31,)),
    "ANNOTATION_UPDATED": ((5,), (31,)),
    "ANNOTATIONS_CREATED": ((5, 6), (31, 32)),
    "ANNOTATIONS_DELETED": ((), (31, 32)),
    "TASKS_CREATED": ((5, 6), ()),
    "TASKS_DELETED": ((5, 6), ()),
    "PROJECT_UPDATED": ((), ()),
    "START_TRAINING": ((), ()),
}
SETUP = {
    "project": "7.1700000000",
    "schema": "<View/>",
    "hostname": "http://localhost:8080",
    "access_token": "hush",
    "extra_params": None,
}
PREDICT = {
    "tasks": [TASK, {**TASK, "id": 6}],
    "project": "7.1700000000",
    "label_config": "<View/>",
    "params": {"login": None, "password": None, "context": None},
}
