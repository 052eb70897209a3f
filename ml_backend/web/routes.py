"""The routes. Each one reads, checks whose business it is, hands over, answers.

/health, /setup, /predict, /webhook and /versions are Label Studio's protocol; the rest is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import NotFound, Unauthorized, UnprocessableEntity

from ml_backend.jobs.store import ConnectedProject
from ml_backend.web.auth import SECRET_HEADER, Caller, Credentials, identify
from ml_backend.web.metrics import Metrics
from ml_backend.web.pages import add_pages, wants_page
from ml_backend.web.payloads import (
    basic_login,
    json_object,
    named_project,
    objects,
    queried_project,
    row_id,
)
from ml_backend.web.services import WebServices
from ml_backend.web.status import problems_of, status_of
from ml_backend.web.webhooks import ACTIONS, parse_event

UP = {"status": "UP", "model_class": "ActiveLabelerModel"}
HOW_TO_GET_IN = (
    "Label Studio gets in once `active-labeler connect --project N` has run; people with "
    "BASIC_AUTH_USER and BASIC_AUTH_PASS."
)
Answer = Response | tuple[Response, int]


def add_routes(app: Flask, services: WebServices, metrics: Metrics) -> None:
    """Add every route to the app."""
    door = Door(services)
    _add_open_routes(app, services)
    _add_protocol_routes(app, services, door)
    _add_route(app, "POST", "/webhook", lambda: _webhook(services, door, metrics))

    def show_metrics() -> Response:
        door.caller()
        return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    _add_route(app, "GET", "/metrics", show_metrics)
    if services.pages is not None:
        add_pages(app, services)
    _add_route(app, "GET", "/status", lambda: jsonify(status_of(services, door.caller())))


class Door:
    """Lets callers in to what is theirs."""

    def __init__(self, services: WebServices) -> None:
        self._services = services

    def caller(self) -> Caller:
        """Tell who sends this request; raises 401, and asks the store only if anybody says."""
        credentials = _credentials()
        if credentials == Credentials():
            raise _unauthorized("This needs credentials")
        projects = self._services.store.projects()
        known = ((project.project_id, project.secret_sha256) for project in projects)
        caller = identify(credentials, self._services.basic_auth, known)
        if caller is None:
            raise _unauthorized("These credentials are not right")
        return caller

    def open(self, caller: Caller, project_id: int) -> ConnectedProject:
        """Return a project to a caller who may see it; raises 401 or 404."""
        if not caller.may_see(project_id):
            raise _unauthorized(f"These credentials are not those of project {project_id}")
        project = self._services.store.get_project(project_id)
        if project is None:
            raise NotFound(
                f"Project {project_id} is not connected: active-labeler connect "
                f"--project {project_id}"
            )
        return project


def _add_route(app: Flask, method: str, path: str, view: Callable[[], Answer]) -> None:
    app.add_url_rule(path, path, view, methods=[method], provide_automatic_options=False)


def _add_open_routes(app: Flask, services: WebServices) -> None:
    def ready() -> Answer:
        try:
            problems = problems_of(services)
        except SQLAlchemyError:
            problems = ["the backend's database does not answer"]
        return jsonify(ready=not problems, problems=problems), 503 if problems else 200

    def root() -> Answer:
        """Answer Label Studio as /health does; show a browser the way to the pages."""
        if services.pages is not None and wants_page():
            return app.redirect("/ui/", 303)  # type: ignore[return-value]  # a Response of Flask's
        return jsonify(UP)

    _add_route(app, "GET", "/", root)
    _add_route(app, "GET", "/health", lambda: jsonify(UP))
    _add_route(app, "GET", "/ready", ready)


def _add_protocol_routes(app: Flask, services: WebServices, door: Door) -> None:
    def setup() -> Answer:
        """Name the version in force. The access token that comes along is never looked at."""
        caller = door.caller()
        project = door.open(caller, named_project(json_object(request).get("project")))
        return jsonify(model_version=project.current_version or "")

    def predict() -> Answer:
        caller = door.caller()
        body = json_object(request)
        project = door.open(caller, named_project(body.get("project")))
        return jsonify(results=services.predict(project.project_id, _tasks(body)))

    def versions() -> Answer:
        caller = door.caller()
        return jsonify(versions=_live_versions(services, caller))

    _add_route(app, "POST", "/setup", setup)
    _add_route(app, "POST", "/predict", predict)
    _add_route(app, "GET", "/versions", versions)


def _webhook(services: WebServices, door: Door, metrics: Metrics) -> Answer:
    """Store an event and answer at once: the annotator's Submit waits for this.

    An action that we do not know is answered 202 and dropped: a later Label Studio may have more.
    """
    caller = door.caller()
    event = parse_event(json_object(request), queried_project(request))
    door.open(caller, event.project_id)
    if event.action not in ACTIONS:
        return jsonify(status="ignored", action=event.action), 202
    services.store.receive(event, services.clock())
    metrics.count_event(event.action)
    return jsonify(status="stored", action=event.action)


def _tasks(body: dict[str, Any]) -> list[dict[str, Any]]:
    tasks = list(objects(body.get("tasks"), "tasks"))
    for task in tasks:
        if task.get("id") is not None:
            row_id(task["id"], "task.id")
        if not isinstance(task.get("data"), dict):
            raise UnprocessableEntity("task.data: expected an object")
    return tasks


def _live_versions(services: WebServices, caller: Caller) -> list[str]:
    """Name what may be in Label Studio now, the newest of each project first."""
    return [
        record.version
        for project in services.store.projects()
        if caller.may_see(project.project_id)
        for record in services.store.versions(project.project_id)
        if record.state != "deleted"
    ]


def _credentials() -> Credentials:
    return Credentials(request.headers.get(SECRET_HEADER) or None, basic_login(request))


def _unauthorized(what: str) -> Unauthorized:
    challenge = WWWAuthenticate("basic", {"realm": "active-labeler"})
    return Unauthorized(f"{what}. {HOW_TO_GET_IN}", www_authenticate=challenge)
