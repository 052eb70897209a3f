"""An app with pages: what they show is made up, the store is real."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from ml_backend.records import Annotation, Finding, Task
from ml_backend.web.app import create_app
from ml_backend.web.services import PageServices, WebServices

from .appraisals import appraisal
from .builders import ADMIN, services

JPEG = b"\xff\xd8 a small picture"
VIEWS = (
    "/ui/",
    "/ui/projects/7/",
    "/ui/projects/7/suspects",
    "/ui/projects/7/models",
    "/ui/projects/7/models/work",
    "/ui/projects/7/models/of/0002-fine-tuned",
    "/ui/projects/7/models/compare?model=0001&model=0002",
    "/ui/projects/7/setup",
    "/ui/projects/7/setup?live=1",
    "/ui/projects/7/setup/doctor",
)


def row(model: str, state: str, note: str = "") -> dict[str, Any]:
    return {
        "model": model,
        "state": state,
        "kind": "fine-tuned",
        "parent": None,
        "created_at": "2026-01-01T00:00:00+00:00",
        "trained_on": 300,
        "accuracy": {"value": 0.9, "low": 0.85, "high": 0.94},
        "note": note,
    }


def page_services(words: str = "", **changes: Any) -> PageServices:
    """Page services of which every text holds `words`."""
    classes = (f"cat{words}", f"dog{words}")
    fields: dict[str, Any] = {
        "session_key": b"k" * 32,
        "models": lambda _project_id: [
            row("pretrained", "") | {"created_at": None, "accuracy": None},
            row(f"0001-first{words}", "retired", words),
            row(f"0002-fine-tuned{words}", "champion", words),
        ],
        "card": lambda _project_id, name: {
            "name": name + words,
            "classes": classes,
            "recipe": {words: [words]},
            "verdict": {"reason": words},
            "holdout_metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "n": 60},
            "history": ({f"loss{words}": words},),
        },
        "compare": lambda _project_id, one, other: {
            "names": [one + words, other + words],
            "rows": [{"what": words, "a": words, "b": words, "differs": True}],
            "warnings": [words],
        },
        "doctor": lambda _project_id: [Finding(f"token{words}", "failure", words, words)],
        "thumbnail": lambda _project_id, _task_id: JPEG,
        "links_url": "https://labels.example.org",
    }
    return PageServices(**fields | changes)


def with_pages(folder: Path, words: str = "", **changes: Any) -> WebServices:
    """Services with pages and a few tasks and labels in project 7."""
    made = appraisal((f"cat{words}", f"dog{words}"), words=words)
    changes = {"appraisal": {7: made}.get, **changes}
    pages = changes.pop("pages", page_services(words))
    built = services(folder, pages=pages, **changes)
    tasks = [Task(task_id, f"/data/{words}{task_id}.png") for task_id in range(1, 101)]
    built.store.upsert_tasks(7, tasks)
    labels = [Annotation(task_id, task_id, 1, f"cat{words}") for task_id in range(1, 76)]
    built.store.replace_annotations(7, range(1, 76), labels)
    return built


def signed_in(built: WebServices) -> FlaskClient:
    """A browser whose user has logged in."""
    client = create_app(built).test_client()
    answer = log_in(client, *ADMIN)
    assert answer.status_code == 303, answer.text
    return client


def log_in(client: FlaskClient, user: str, password: str, target: str = "") -> Any:
    token = token_of(client.get("/ui/login").text)
    sent = {"user": user, "password": password, "csrf_token": token, "next": target}
    return client.post("/ui/login", data=sent)


def token_of(html: str) -> str:
    """Read a page's CSRF token."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', html)
    assert found
    return found[1]


def press(client: FlaskClient, page: str, address: str, **sent: Any) -> Any:
    """Press a button of a page."""
    token = token_of(client.get(page).text)
    return client.post(address, data={**sent, "csrf_token": token})
