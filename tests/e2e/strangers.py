"""What other people have in the project before we come, and must find untouched when we are gone:
predictions of their own, a webhook, an ML backend that orders nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ml_backend.connecting import is_ours
from tests.e2e.stack import Stack
from tests.e2e.truths import look

THEIR_VERSION = "somebody-else-1"
THEIR_BACKEND = "Their model"
COUNTERS = frozenset(
    {
        "ground_truth_number",
        "num_tasks_with_annotations",
        "queue_done",
        "queue_left",
        "queue_total",
        "skipped_annotations_number",
        "total_annotations_number",
        "total_predictions_number",
        "useful_annotation_number",
        "finished_task_number",
        "task_number",
        "config_has_control_tags",
        "start_training_on_annotation_update",
    }
)


class _TheirBackend(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._say({"status": "UP", "model_class": "Theirs"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._say({"model_version": "their-live-1", "results": []})

    def _say(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def their_backend() -> Iterator[str]:
    """A backend of somebody else's; yields its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _TheirBackend)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def plant(stack: Stack, url: str) -> None:
    """Give the project a backend, a webhook, predictions and a sampling that are not ours."""
    stack.post("/api/ml", {"project": stack.project_id, "url": url, "title": THEIR_BACKEND})
    hook = {"project": stack.project_id, "url": f"{url}/their-hook", "headers": {"X-Their": "1"}}
    stack.post("/api/webhooks/", hook)
    for task_id, digit in sorted(stack.truth.items())[:5]:
        region = {"from_name": "digit", "to_name": "image", "type": "choices"}
        result = [{**region, "value": {"choices": [digit]}}]
        theirs = {"task": task_id, "result": result, "score": 0.5, "model_version": THEIR_VERSION}
        stack.post("/api/predictions/", theirs)
    stack.patch(stack.project_path, {"sampling": "Uniform sampling"})


def inventory(stack: Stack) -> dict[str, Any]:
    """Everything in the project that is not a task, an annotation or our own predictions."""
    project = stack.get(stack.project_path)
    settings = {key: value for key, value in project.items() if key not in COUNTERS}
    backends = stack.get("/api/ml", project=stack.project_id)
    predictions = [
        (task_id, prediction["model_version"], prediction["score"], prediction["result"])
        for task_id, task in look(stack).tasks.items()
        for prediction in task["predictions"]
        if not is_ours(prediction["model_version"])
    ]
    return {
        "settings": settings,
        "backends": [_without(each, "updated_at") for each in backends],
        "webhooks": [
            _without(each, "updated_at")
            for each in stack.get("/api/webhooks/", project=stack.project_id)
        ],
        "predictions": sorted(predictions, key=str),
    }


def _without(each: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in each.items() if key not in keys}
