"""HTTP with Label Studio: authentication, timeouts, retries and errors in one place.

Plain JSON over httpx. Label Studio's SDK is not used: it lacks half of the calls that are needed
here, parses every task into models, and repeats writes by itself. Knows no project, task or
prediction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from ml_backend.errors import (
    ConfigurationError,
    LabelStudioError,
    LabelStudioNotFound,
    LabelStudioRefused,
    LabelStudioUnreachable,
)

TokenKind = Literal["personal access token", "legacy token"]

READ_ATTEMPTS = 3
RETRY_WAIT = wait_exponential(multiplier=0.2, max=2.0)  # seconds
MAX_DETAIL_CHARS = 300
WORTH_ANOTHER_TRY = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Reply:
    """Label Studio's answer: its HTTP status and its JSON (None where there is no body)."""

    status: int
    body: Any


class Signature(httpx.Auth):
    """Signs requests with a token of either kind.

    A personal access token cannot be used as it is: it buys access tokens that live for minutes.
    One is bought when there is none, and again when it is refused.
    """

    requires_response_body = True

    def __init__(self, url: str, token: str) -> None:
        self._refresh_url = f"{url}/api/token/refresh/"
        self._token = token
        self._access = ""
        self.kind: TokenKind = _kind_of(token)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request, and once more where the access token has run out."""
        if not self.bought:
            self._buy((yield self._purchase()))
        request.headers["Authorization"] = self.header()
        response = yield request
        if response.status_code == 401 and self.kind == "personal access token":
            self._buy((yield self._purchase()))
            request.headers["Authorization"] = self.header()
            yield request

    @property
    def bought(self) -> bool:
        """Whether `header` can be used: a legacy token always, another once it bought access."""
        return self.kind == "legacy token" or bool(self._access)

    def header(self) -> str:
        """Return the value of the Authorization header."""
        if self.kind == "legacy token":
            return f"Token {self._token}"
        return f"Bearer {self._access}"

    def scrubbed(self, text: str) -> str:
        """Return text without the tokens."""
        for secret in filter(None, (self._token, self._access)):
            text = text.replace(secret, "***")
        return text

    def forget(self) -> None:
        """Drop the access token: the next request buys another."""
        self._access = ""

    def _purchase(self) -> httpx.Request:
        return httpx.Request("POST", self._refresh_url, json={"refresh": self._token})

    def _buy(self, answer: httpx.Response) -> None:
        if answer.status_code >= 500:
            raise LabelStudioUnreachable(f"{self._refresh_url}: {answer.status_code}")
        try:
            self._access = str(answer.raise_for_status().json()["access"])
        except (httpx.HTTPStatusError, ValueError, KeyError):
            raise LabelStudioRefused(
                f"{self._refresh_url} answered {answer.status_code}: the personal access token is "
                "not valid there, has expired or was revoked. Make a new one in Label Studio "
                "(Account & Settings > Personal Access Token) and set LABEL_STUDIO_API_KEY"
            ) from None


def _kind_of(token: str) -> TokenKind:
    # A personal access token is a JWT: three parts with dots between. A legacy one is 40 letters.
    return "personal access token" if token.count(".") == 2 else "legacy token"


class LabelStudioClient:
    """Speaks JSON with one Label Studio as one user. Threads may share it.

    Reads are repeated where Label Studio does not answer; writes never are, since a timeout does
    not tell whether they were done. Raises LabelStudioUnreachable, LabelStudioRefused,
    LabelStudioNotFound, or LabelStudioError for any other refusal. `transport` and `pause` are for
    tests.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        timeout_s: float,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if not api_key:
            raise ConfigurationError(
                "LABEL_STUDIO_API_KEY is empty: make a personal access token in Label Studio "
                "(Account & Settings > Personal Access Token) and set it"
            )
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._pause = pause
        self.signature = Signature(self.url, api_key)
        self._http = httpx.Client(
            timeout=timeout_s,
            limits=_limits(self.url),
            auth=self.signature,
            transport=transport,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"LabelStudioClient({self.url!r})"

    @property
    def token_kind(self) -> TokenKind:
        """Which of Label Studio's two kinds of token this is."""
        return self.signature.kind

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Read JSON, trying again where Label Studio does not answer."""
        attempts = Retrying(
            stop=stop_after_attempt(READ_ATTEMPTS),
            wait=RETRY_WAIT,
            sleep=self._pause,
            retry=retry_if_exception_type(LabelStudioUnreachable),
            reraise=True,
        )
        return attempts(self.send, "GET", path, params=params).body

    def post(self, path: str, json: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Write JSON, once."""
        return self.send("POST", path, json=json, params=params).body

    def patch(self, path: str, json: Any) -> Any:
        """Change what is at `path`, once."""
        return self.send("PATCH", path, json=json).body

    def delete(self, path: str, json: Any = None) -> Any:
        """Delete what is at `path`, once. Raises LabelStudioNotFound where nothing is."""
        return self.send("DELETE", path, json=json).body

    def send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> Reply:
        """Send one request and return the answer; a status in `accept` is no error."""
        response = self._answer(method, path, json, params)
        if response.status_code not in accept:
            self._raise_for(response, f"{method} {path}")
        return Reply(response.status_code, self._json(response, f"{method} {path}"))

    def authorization(self, *, renewed: bool = False) -> str:
        """Return the header that signs a request. For Label Studio's own address alone.

        With `renewed` an access token that was bought before is not used again.
        """
        if renewed:
            self.signature.forget()
        if not self.signature.bought:
            self.whoami()  # signs itself, and so buys an access token
        return self.signature.header()

    def version(self) -> str:
        """Return Label Studio's release, such as "1.23.2"."""
        return str(self.get("/api/version")["release"])

    def whoami(self) -> dict[str, Any]:
        """Return the user that the token belongs to: at least `id` and `email`."""
        return dict(self.get("/api/current-user/whoami"))

    def scrubbed(self, text: str) -> str:
        """Return text without the token, shortened, for a message."""
        return self.signature.scrubbed(text)[:MAX_DETAIL_CHARS]

    def _answer(
        self, method: str, path: str, json: Any, params: Mapping[str, Any] | None
    ) -> httpx.Response:
        try:
            return self._http.request(method, f"{self.url}{path}", json=json, params=params)
        except httpx.HTTPError as error:
            raise LabelStudioUnreachable(
                f"{method} {path} at {self.url}: {type(error).__name__} "
                f"(waited up to {self.timeout_s:g} s)"
            ) from None

    def _raise_for(self, response: httpx.Response, call: str) -> None:
        status = response.status_code
        if response.is_success:
            return
        if status < 400:
            raise LabelStudioError(
                f"{call} at {self.url} is answered with a redirect to "
                f"{response.headers.get('location', '?')!r}: set LABEL_STUDIO_URL to where it leads"
            )
        message = f"{call} at {self.url}: {status} {self.scrubbed(_detail(response))}"
        if status >= 500 or status in WORTH_ANOTHER_TRY:
            raise LabelStudioUnreachable(message)
        if status in (401, 403):
            raise LabelStudioRefused(message)
        if status == 404:
            raise LabelStudioNotFound(message)
        raise LabelStudioError(message)

    def _json(self, response: httpx.Response, call: str) -> Any:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise LabelStudioError(
                f"{call} at {self.url} was not answered with JSON: "
                "is LABEL_STUDIO_URL the address of Label Studio?"
            ) from None


def _limits(url: str) -> httpx.Limits:
    # Label Studio's own server sends headers and body apart with Nagle's algorithm on: on a
    # connection that is kept, every answer waits 40 ms for the client's delayed ACK (measured:
    # 52 ms instead of 8). Opening a plain connection costs far less; a TLS one does not.
    if url.startswith("https://"):
        return httpx.Limits(max_connections=20, max_keepalive_connections=10)
    return httpx.Limits(max_connections=20, max_keepalive_connections=0)


def _detail(response: httpx.Response) -> str:
    """Return Label Studio's own words on what was wrong."""
    try:
        body = response.json()
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return str(body)
    reasons = body.get("validation_errors") or body.get("detail") or body
    return str(reasons)
