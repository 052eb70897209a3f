"""An annotator who knows the answers, and works as people do: in Label Studio, task by task.

It asks for the next task and submits an annotation with the calls that the labeling page makes, so
what it is served is what a person would be served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Answered:
    """One annotation: what was served, what was answered, and what the model had suggested."""

    task_id: int
    choice: str
    suggested: str | None
    model_version: str | None


def annotate(
    client: httpx.Client,
    project_id: int,
    answer_of: Callable[[dict[str, Any]], str | None],
    names: tuple[str, str] = ("choice", "image"),
) -> Iterator[Answered]:
    """Annotate one task after the other until Label Studio has none left for this user.

    `client` carries the annotator's session; `answer_of` gives a task's class, None where the
    oracle does not know it, which it skips; `names` are those of the <Choices> and the <Image>.
    """
    while (task := next_task(client, project_id)) is not None:
        task_id, suggestion = int(task["id"]), _newest_prediction(task)
        choice = answer_of(task)
        if choice is None:
            skip(client, project_id, task_id)
            continue
        submit(client, project_id, task_id, choice, suggestion.get("id"), names)
        yield Answered(task_id, choice, _choice(suggestion), suggestion.get("model_version"))


def next_task(client: httpx.Client, project_id: int) -> dict[str, Any] | None:
    """Ask as "Label All Tasks" asks: with an empty body, so that the project's sampling decides."""
    answer = client.post(
        "/api/dm/actions/", params={"id": "next_task", "project": project_id}, json={}
    )
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    return dict(answer.json())


def submit(
    client: httpx.Client,
    project_id: int,
    task_id: int,
    choice: str,
    prediction_id: int | None,
    names: tuple[str, str] = ("choice", "image"),
) -> None:
    """Press Submit with `choice` ticked."""
    region = {
        "from_name": names[0],
        "to_name": names[1],
        "type": "choices",
        "value": {"choices": [choice]},
        "origin": "manual",
    }
    body = {"result": [region], "lead_time": 1.0, "parent_prediction": prediction_id}
    _post(client, project_id, task_id, body)


def skip(client: httpx.Client, project_id: int, task_id: int) -> None:
    """Press Skip."""
    _post(client, project_id, task_id, {"result": [], "was_cancelled": True})


def _post(client: httpx.Client, project_id: int, task_id: int, body: dict[str, Any]) -> None:
    answer = client.post(
        f"/api/tasks/{task_id}/annotations/", params={"project": project_id}, json=body
    )
    answer.raise_for_status()


def _newest_prediction(task: dict[str, Any]) -> dict[str, Any]:
    return max(task.get("predictions") or [], key=lambda prediction: prediction["id"], default={})


def _choice(prediction: dict[str, Any]) -> str | None:
    regions = prediction.get("result") or []
    return str(regions[0]["value"]["choices"][0]) if regions else None
