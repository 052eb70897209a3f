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
    image_uri: str
    choice: str
    suggested: str | None
    model_version: str | None


def annotate(
    client: httpx.Client, project_id: int, answer_of: Callable[[str], str]
) -> Iterator[Answered]:
    """Annotate one task after the other until Label Studio has none left for this user.

    `client` carries the annotator's session; `answer_of` maps an image's address to its class.
    """
    while (task := next_task(client, project_id)) is not None:
        uri = str(task["data"]["image"])
        suggestion = _newest_prediction(task)
        choice = answer_of(uri)
        submit(client, project_id, int(task["id"]), choice, suggestion.get("id"))
        yield Answered(
            int(task["id"]), uri, choice, _choice(suggestion), suggestion.get("model_version")
        )


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
    client: httpx.Client, project_id: int, task_id: int, choice: str, prediction_id: int | None
) -> None:
    """Press Submit with `choice` ticked."""
    region = {
        "from_name": "choice",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [choice]},
        "origin": "manual",
    }
    body = {"result": [region], "lead_time": 1.0, "parent_prediction": prediction_id}
    answer = client.post(
        f"/api/tasks/{task_id}/annotations/", params={"project": project_id}, json=body
    )
    answer.raise_for_status()


def _newest_prediction(task: dict[str, Any]) -> dict[str, Any]:
    return max(task.get("predictions") or [], key=lambda prediction: prediction["id"], default={})


def _choice(prediction: dict[str, Any]) -> str | None:
    regions = prediction.get("result") or []
    return str(regions[0]["value"]["choices"][0]) if regions else None
