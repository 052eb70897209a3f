"""Who may look at the pages: a signed cookie for browsers, Basic authentication for reading.

Knows Flask's sessions. There is one login, that of BASIC_AUTH_USER and _PASS. The cookie holds a
digest of both under the server's key, so that a changed password ends every session. Nothing is
kept on the server: signing out clears the browser's cookie, and a copy of it would live on until it
expires or the password changes.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta

from flask import Flask, request, session
from flask.sessions import SecureCookieSessionInterface
from werkzeug.exceptions import TooManyRequests

from ml_backend.web.attempts import Attempts
from ml_backend.web.auth import Credentials, identify
from ml_backend.web.payloads import basic_login
from ml_backend.web.services import WebServices

LASTS = timedelta(hours=12)
ROOT = "/ui/"


class _Sessions(SecureCookieSessionInterface):
    """Marks the cookie Secure where the request came by https, so that both ways work."""

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002 - Flask passes it
        """Follow the request; a proxy's X-Forwarded-Proto is gunicorn's to believe or not."""
        return request.is_secure


class Guard:
    """Lets people in, and knows them again."""

    def __init__(self, services: WebServices, session_key: bytes) -> None:
        self._services = services
        self._key = session_key
        self._attempts = Attempts()

    def prepare(self, app: Flask) -> None:
        """Set the app's sessions up: signed, of this site alone, and sent to pages only."""
        app.secret_key = self._key
        app.session_interface = _Sessions()
        app.permanent_session_lifetime = LASTS
        app.config.update(
            SESSION_COOKIE_NAME="active_labeler",
            SESSION_COOKIE_PATH=ROOT,
            SESSION_COOKIE_HTTPONLY=True,
            SESSION_COOKIE_SAMESITE="Lax",
            # An answer still on its way while somebody logs out must not bring the cookie back.
            SESSION_REFRESH_EACH_REQUEST=False,
        )

    @property
    def has_login(self) -> bool:
        """Whether anybody could sign in at all."""
        return self._services.basic_auth is not None

    def signed_in(self) -> bool:
        """Tell whether this request's cookie is of somebody who signed in with today's password."""
        return hmac.compare_digest(str(session.get("as", "")), self._digest())

    def may_read(self) -> bool:
        """Tell whether this request carries the right login, for scripts that read pages."""
        sent = basic_login(request)
        return sent is not None and request.method in ("GET", "HEAD") and self._knows(*sent)

    def sign_in(self, user: str, password: str) -> bool:
        """Start a session; False where the login is wrong. Raises 429 for who guesses."""
        if not self._knows(user, password):
            return False
        session.clear()  # nothing from before the login is taken over
        session.permanent = True
        session["as"] = self._digest()
        return True

    def _knows(self, user: str, password: str) -> bool:
        address, now = request.remote_addr or "", self._services.clock()
        wait_s = self._attempts.wait_s(address, now)
        if wait_s > 0:
            said = f"Too many wrong passwords: try again in {wait_s:.0f} s."
            raise TooManyRequests(said, retry_after=int(wait_s) + 1)
        given = Credentials(login=(user, password))
        if identify(given, self._services.basic_auth, ()) is None:
            self._attempts.failed(address, now)
            return False
        self._attempts.succeeded(address)
        return True

    def _digest(self) -> str:
        user, password = self._services.basic_auth or ("", "")
        said = f"{len(user)}:{user}{password}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()


def own_page(target: str | None) -> str:
    """Return where to go after signing in: one of our pages, whatever the address asks for."""
    asked = target or ""
    harmless = asked.isascii() and asked.isprintable() and "\\" not in asked and "//" not in asked
    return asked if harmless and asked.startswith(ROOT) else ROOT
