"""The Flask app: which route is whose, what is refused, and how it is said.

Knows HTTP, the store and who may ask what. Knows no torch, no Label Studio SDK, no learning.

Every answer is JSON (/metrics: Prometheus' text), errors too. Open to all: `/`, /health and /ready,
which tell nothing that is anybody's business. /metrics and /status show project ids, titles and how
fast people work, so they are closed by default: a scraper comes with BASIC_AUTH_USER and _PASS.
"""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, jsonify, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, RequestEntityTooLarge
from werkzeug.routing import RequestRedirect

from ml_backend.errors import ActiveLabelerError, ProjectNotConnected
from ml_backend.web.metrics import Metrics
from ml_backend.web.routes import add_routes
from ml_backend.web.services import WebServices

log = logging.getLogger(__name__)


def create_app(services: WebServices) -> Flask:
    """Build the app. Touches neither the store nor the network."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = services.max_request_bytes
    metrics = Metrics(services.store, services.clock, services.appraisal)
    _measure(app, metrics)
    _answer_errors(app)
    add_routes(app, services, metrics)
    return app


def _measure(app: Flask, metrics: Metrics) -> None:
    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()
        if isinstance(request.routing_exception, RequestRedirect):
            raise NotFound  # an empty path or a doubled slash; the redirect would be HTML
        _refuse_unwanted_body()

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        took_s = time.perf_counter() - g.get("started", time.perf_counter())
        metrics.count_request(route, response.status_code, took_s)
        return response


def _refuse_unwanted_body() -> None:
    """Refuse a body that is too large, or where none belongs, before anything else is done."""
    limit = request.max_content_length
    if limit is not None and (request.content_length or 0) > limit:
        raise RequestEntityTooLarge(f"a request may have {limit} bytes")
    if request.method in ("GET", "HEAD") and (
        request.content_length or "Transfer-Encoding" in request.headers
    ):
        raise BadRequest(f"{request.method} takes no body")


def _answer_errors(app: Flask) -> None:
    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        answer = jsonify(error=error.description)
        answer.status_code = error.code or 500
        for name, value in error.get_headers(request.environ):
            if name != "Content-Type":  # keeps Allow and WWW-Authenticate
                answer.headers.add(name, value)
        return answer

    @app.errorhandler(ProjectNotConnected)
    def not_connected(error: ProjectNotConnected) -> tuple[Response, int]:
        return jsonify(error=f"{error}: active-labeler connect --project N"), 404

    @app.errorhandler(ActiveLabelerError)
    def not_now(error: ActiveLabelerError) -> tuple[Response, int]:
        log.error("%s: %s", request.path, error)
        return jsonify(error=str(error)), 503

    @app.errorhandler(SQLAlchemyError)
    def no_store(error: SQLAlchemyError) -> tuple[Response, int]:
        log.error("%s: the database does not answer: %s", request.path, error)
        return jsonify(error="the backend's database does not answer"), 503

    @app.errorhandler(Exception)
    def broken(error: Exception) -> tuple[Response, int]:
        log.error("%s failed", request.path, exc_info=error)
        return jsonify(error="the backend failed; its log says why"), 500
