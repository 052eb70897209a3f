"""From a webhook's payload to a typed event.

Takes ids and nothing else: a webhook is a hint, and the content is read from Label Studio's API. A
webhook that is set up without payload names only its action; then the round looks for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from werkzeug.exceptions import UnprocessableEntity

from ml_backend.records import WebhookEvent
from ml_backend.web.payloads import row_id

# action -> the key that holds its annotations, the key that holds its tasks. Each is one object or
# a list of them, in full or with nothing but its id. There is no ANNOTATION_DELETED.
ACTIONS: dict[str, tuple[str | None, str | None]] = {
    "ANNOTATION_CREATED": ("annotation", "task"),  # also a skip
    "ANNOTATION_UPDATED": ("annotation", "task"),
    "ANNOTATIONS_CREATED": ("annotation", "task"),  # lists under singular names
    "ANNOTATIONS_DELETED": ("annotations", None),
    "TASKS_CREATED": (None, "tasks"),
    "TASKS_DELETED": (None, "tasks"),
    "PROJECT_UPDATED": (None, None),  # our own changes come back as this, too
    "START_TRAINING": (None, None),
}
WELL_FORMED = re.compile(r"[A-Z][A-Z_]{0,63}", re.ASCII)


def parse_event(payload: Mapping[str, Any], project_id: int | None) -> WebhookEvent:
    """Make an event of a payload; `project_id` is what the URL says, if it says anything.

    An action that is not in ACTIONS is returned without ids. Raises 422 (UnprocessableEntity) for
    a payload that Label Studio would not send, or that is of another project than the URL says.
    """
    action = payload.get("action")
    if not isinstance(action, str) or not WELL_FORMED.fullmatch(action):
        raise UnprocessableEntity("action: expected a name such as ANNOTATION_CREATED")
    annotation_key, task_key = ACTIONS.get(action, (None, None))
    annotations = _items(payload, annotation_key)
    tasks = [*_items(payload, task_key), *_tasks_of(annotations)]
    return WebhookEvent(
        action=action,
        project_id=_project(payload, project_id),
        task_ids=_ids(tasks, "task"),
        annotation_ids=_ids(annotations, "annotation"),
    )


def _project(payload: Mapping[str, Any], queried: int | None) -> int:
    project = payload.get("project")
    if project is None:
        if queried is None:
            raise UnprocessableEntity("neither the URL (?project=7) nor the payload says a project")
        return queried
    if not isinstance(project, dict):
        raise UnprocessableEntity("project: expected an object with an id")
    named = row_id(project.get("id"), "project.id")
    if queried not in (None, named):
        raise UnprocessableEntity(f"the URL is for project {queried}, the payload for {named}")
    return named


def _items(payload: Mapping[str, Any], key: str | None) -> list[Mapping[str, Any]]:
    """Read one object or a list of objects, where the payload has any."""
    if key is None or payload.get(key) is None:
        return []
    value = payload[key]
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise UnprocessableEntity(f"{key}: expected an object or a list of objects")
    return items


def _tasks_of(annotations: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the tasks that annotations say they belong to (a deleted one says nothing)."""
    return [{"id": each["task"]} for each in annotations if each.get("task") is not None]


def _ids(items: list[Mapping[str, Any]], where: str) -> tuple[int, ...]:
    """Read the ids, each once, in their order."""
    return tuple(dict.fromkeys(row_id(item.get("id"), f"{where}.id") for item in items))
