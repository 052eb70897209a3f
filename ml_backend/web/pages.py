"""The admin's pages under /ui/: who may, which page, what a button does.

Knows Flask. Reads and asks; the trainer does the work that buttons ask for. Nothing on a page comes
from another server, and no style or script stands inside it, so its content security policy is
strict. A page works without JavaScript.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Flask, Response, redirect, render_template, request, session
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from ml_backend.errors import ActiveLabelerError, ProjectNotConnected, UnknownModel
from ml_backend.web.login import ROOT, Guard, own_page
from ml_backend.web.page_routes import add_view, add_views
from ml_backend.web.page_words import add_words
from ml_backend.web.services import WebServices

POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
OPEN = {"pages.login", "pages.static"}
MAX_FORM_BYTES = 64 * 1024
Answer = Response | str | tuple[str, int]

log = logging.getLogger(__name__)


def add_pages(app: Flask, services: WebServices) -> None:
    """Add the pages to the app."""
    assert services.pages is not None
    guard = Guard(services, services.pages.session_key)
    guard.prepare(app)
    # Only pages have cookies. Label Studio's routes carry secrets of their own, and no token.
    app.config.update(WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None)
    csrf = CSRFProtect(app)
    add_words(app.jinja_env)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    pages = Blueprint(
        "pages",
        __name__,
        url_prefix="/ui",
        static_folder="static",
        template_folder="templates",
    )
    _guard_the_door(pages, guard, csrf)
    _answer_errors(pages)
    _add_login(pages, guard)
    add_views(pages, services)

    @pages.context_processor
    def known_everywhere() -> dict[str, Any]:
        return {
            "now": services.clock(),
            "signed_in": guard.has_login and guard.signed_in(),
            "version": services.backend_version,
        }

    app.register_blueprint(pages)


def wants_page() -> bool:
    """Tell whether a browser asks, and not Label Studio or a script."""
    accepted = request.accept_mimetypes
    return accepted.best_match(["application/json", "text/html"]) == "text/html"


def _guard_the_door(pages: Blueprint, guard: Guard, csrf: CSRFProtect) -> None:
    @pages.before_request
    def let_in() -> Answer | None:
        request.max_content_length = MAX_FORM_BYTES
        if request.endpoint == "pages.static":
            return None
        if not guard.has_login:
            return render_template("closed.html"), 403
        csrf.protect()
        if request.endpoint in OPEN or guard.signed_in() or guard.may_read():
            return None
        return _to(f"{ROOT}login?next={request.path}" if request.path != ROOT else f"{ROOT}login")

    @pages.after_request
    def protect(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _answer_errors(pages: Blueprint) -> None:
    def page(code: int, said: str) -> tuple[str, int]:
        return render_template("error.html", code=code, said=said), code

    @pages.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Answer:
        code, said = error.code or 500, error.description or ""
        answer = Response(render_template("error.html", code=code, said=said), code)
        for name, value in error.get_headers(request.environ):
            if name not in ("Content-Type", "Content-Length"):
                answer.headers.add(name, value)
        return answer

    @pages.errorhandler(ProjectNotConnected)
    @pages.errorhandler(UnknownModel)
    def missing(error: Exception) -> Answer:
        return page(404, str(error))

    @pages.errorhandler(ActiveLabelerError)
    def not_now(error: ActiveLabelerError) -> Answer:
        log.error("%s: %s", request.path, error)
        return page(503, str(error))

    @pages.errorhandler(SQLAlchemyError)
    def no_store(error: SQLAlchemyError) -> Answer:
        log.error("%s: the database does not answer: %s", request.path, error)
        return page(503, "The backend's database does not answer.")

    @pages.errorhandler(Exception)
    def broken(error: Exception) -> Answer:
        log.error("%s failed", request.path, exc_info=error)
        return page(500, "The backend failed; its log says why.")


def _add_login(pages: Blueprint, guard: Guard) -> None:
    def login() -> Answer:
        target = own_page(request.values.get("next"))
        if request.method == "POST":
            sent = [request.form.get(name, "") for name in ("user", "password")]
            if guard.sign_in(*sent):
                return _to(target)
            return render_template("login.html", target=target, wrong=True), 401
        return _to(target) if guard.signed_in() else render_template("login.html", target=target)

    def logout() -> Answer:
        session.clear()
        return _to(f"{ROOT}login")

    add_view(pages, "/login", login, "login", methods=["GET", "POST"])
    add_view(pages, "/logout", logout, "logout", methods=["POST"])


def _to(address: str) -> Response:
    answer = redirect(address, 303)
    assert isinstance(answer, Response)
    return answer
