"""HTTP with Label Studio: authentication, timeouts, retries and errors in one place.

Label Studio's SDK keeps the tokens and makes the calls that it has; what it lacks is plain JSON,
signed by the same SDK client and sent over the same connections. Knows no project, task or
prediction.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import httpx
from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from ml_backend.errors import (
    ConfigurationError,
    LabelStudioError,
    LabelStudioNotFound,
    LabelStudioRefused,
    LabelStudioUnreachable,
)

if TYPE_CHECKING:  # over a second (pandas); `--help` and the web process do without
    from label_studio_sdk import LabelStudio
    from label_studio_sdk.core.api_error import ApiError
    from label_studio_sdk.core.http_response import HttpResponse
    from label_studio_sdk.core.parse_error import ParsingError
    from label_studio_sdk.core.request_options import RequestOptions

    SdkCall = Callable[[LabelStudio, RequestOptions], HttpResponse[Any]]

TokenKind = Literal["personal access token", "legacy token"]

READ_ATTEMPTS = 3
RETRY_WAIT = wait_exponential(multiplier=0.2, max=2.0)  # seconds
MAX_DETAIL_CHARS = 300
WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
EXCHANGE = "/api/token/refresh/"
# Personal access tokens and the access tokens that they buy are all JWTs.
JWT = re.compile(r"\bey[\w-]+\.[\w-]+\.[\w-]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """Label Studio's answer: its HTTP status and its JSON (None where there is no body)."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, before it is judged; `body` is text where it is no JSON."""

    status: int
    location: str
    body: Any
    is_json: bool = True


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
        self._api_key = SecretStr(api_key)
        self._sdk: LabelStudio | None = None  # made at the first call
        self._sdk_lock = threading.Lock()
        self._http = httpx.Client(
            timeout=timeout_s,
            limits=_limits(self.url),
            transport=transport,
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"LabelStudioClient({self.url!r})"

    @property
    def token_kind(self) -> TokenKind:
        """Which of Label Studio's two kinds of token this is, by how the SDK signs with it."""
        personal = self.authorization().startswith("Bearer ")
        return "personal access token" if personal else "legacy token"

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Read JSON, trying again where Label Studio does not answer."""
        return self._reading()(self.send, "GET", path, params=params).body

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
        files: Sequence[tuple[str, bytes]] = (),
        accept: frozenset[int] = frozenset(),
    ) -> Reply:
        """Send one request and return the answer; a status in `accept` is no error.

        `files` are (name, content), sent as a form where there are any.
        """
        form = [(f"file{place}", each) for place, each in enumerate(files)] or None

        def plain(sdk: LabelStudio) -> Answer:
            url, signed = f"{self.url}{path}", {"Authorization": self._signature(sdk)}
            return _answer(
                self._http.request(
                    method, url, json=json, params=params, files=form, headers=signed
                )
            )

        return self._settled(self._signed(plain, f"{method} {path}"), f"{method} {path}", accept)

    def call(self, what: str, ask: SdkCall, accept: frozenset[int] = frozenset()) -> Reply:
        """Make one call of the SDK, once, and return the answer; `what` names it in errors.

        `ask(sdk, options)` calls a method of the SDK's `with_raw_response` clients with
        `request_options=options`, which keep the SDK from repeating it. A status in `accept` is no
        error.
        """
        from label_studio_sdk.core.api_error import ApiError
        from label_studio_sdk.core.parse_error import ParsingError

        options: RequestOptions = {"max_retries": 0, "timeout": self.timeout_s}

        def through_sdk(sdk: LabelStudio) -> Answer:
            self._signature(sdk)  # what goes wrong with the token is not this call's fault
            try:
                return _answer(ask(sdk, options).response)
            except (ApiError, ParsingError) as error:
                return _answer_in(error)

        return self._settled(self._signed(through_sdk, what), what, accept)

    def read(self, what: str, ask: SdkCall) -> Any:
        """Make a call of the SDK that reads, trying again where Label Studio does not answer."""
        return self._reading()(self.call, what, ask).body

    def authorization(self, *, renewed: bool = False) -> str:
        """Return the header that signs a request. For Label Studio's own address alone.

        With `renewed` an access token that was bought before is not used again.
        """
        sdk = self._session()
        return self._signature(self._session(instead_of=sdk) if renewed else sdk)

    def version(self) -> str:
        """Return Label Studio's release, such as "1.23.2"."""
        return str(self.get("/api/version")["release"])

    def whoami(self) -> dict[str, Any]:
        """Return the user that the token belongs to: at least `id` and `email`."""
        return dict(self.get("/api/current-user/whoami"))

    def scrubbed(self, text: str) -> str:
        """Return text without the token, shortened, for a message."""
        text = text.replace(self._api_key.get_secret_value(), "***")
        return JWT.sub("***", text)[:MAX_DETAIL_CHARS]

    def _reading(self) -> Retrying:
        return Retrying(
            stop=stop_after_attempt(READ_ATTEMPTS),
            wait=RETRY_WAIT,
            sleep=self._pause,
            retry=retry_if_exception_type(LabelStudioUnreachable),
            reraise=True,
        )

    def _session(self, instead_of: LabelStudio | None = None) -> LabelStudio:
        """Return the SDK's client; a fresh one, which has bought no access token, once a renewal.

        Threads that are refused together come with the same `instead_of`: the first renews.
        """
        from label_studio_sdk import LabelStudio
        from label_studio_sdk.core.api_error import ApiError

        with self._sdk_lock:
            if self._sdk is None or self._sdk is instead_of:
                try:
                    self._sdk = LabelStudio(  # type: ignore[no-untyped-call]
                        base_url=f"{self.url}/",  # without it, the exchange drops a path in `url`
                        api_key=self._api_key.get_secret_value(),
                        timeout=self.timeout_s,
                        max_retries=0,
                        httpx_client=self._http,
                    )
                except ApiError as error:  # a personal access token that has run out
                    raise self._invalid_token(error) from None
            return self._sdk

    def _signature(self, sdk: LabelStudio) -> str:
        """Return the Authorization header, which the SDK buys an access token for where needed."""
        from label_studio_sdk.core.api_error import ApiError

        try:
            # The one place that reaches inside the SDK: it signs only what it sends itself.
            return sdk._client_wrapper.get_headers()["Authorization"]
        except ApiError as error:
            raise self._invalid_token(error) from None
        except httpx.HTTPError as error:
            raise self._no_answer(f"POST {EXCHANGE}", error) from None
        except ValueError:  # the SDK reads JSON whatever the status is
            raise LabelStudioUnreachable(
                f"POST {EXCHANGE} at {self.url} was not answered with JSON: Label Studio is down "
                "behind its proxy, or LABEL_STUDIO_URL leads elsewhere"
            ) from None

    def _signed(self, attempt: Callable[[LabelStudio], Answer], what: str) -> Answer:
        """Make an attempt, and once more where the access token was refused."""
        sdk = self._session()
        try:
            answer = attempt(sdk)
            if answer.status == 401 and self._signature(sdk).startswith("Bearer "):
                answer = attempt(self._session(instead_of=sdk))
        except httpx.HTTPError as error:
            raise self._no_answer(what, error) from None
        return answer

    def _settled(self, answer: Answer, what: str, accept: frozenset[int]) -> Reply:
        if answer.status not in accept:
            self._raise_for(answer, what)
        if not answer.is_json:
            raise LabelStudioError(
                f"{what} at {self.url} was not answered with JSON: "
                "is LABEL_STUDIO_URL the address of Label Studio?"
            )
        return Reply(answer.status, answer.body)

    def _raise_for(self, answer: Answer, what: str) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        if status < 400:
            raise LabelStudioError(
                f"{what} at {self.url} is answered with a redirect to "
                f"{answer.location!r}: set LABEL_STUDIO_URL to where it leads"
            )
        detail = self.scrubbed(reasons(answer.body)) if answer.is_json else ""
        message = f"{what} at {self.url}: {status} {detail}"
        if status >= 500 or status in WORTH_ANOTHER_TRY:
            raise LabelStudioUnreachable(message)
        if status in (401, 403):
            raise LabelStudioRefused(message)
        if status == 404:
            raise LabelStudioNotFound(message)
        raise LabelStudioError(message)

    def _no_answer(self, what: str, error: httpx.HTTPError) -> LabelStudioUnreachable:
        return LabelStudioUnreachable(
            f"{what} at {self.url}: {type(error).__name__} (waited up to {self.timeout_s:g} s): "
            "is it running, and is this its address?"
        )

    def _invalid_token(self, error: ApiError) -> LabelStudioError:
        status = error.status_code or 0
        if status >= 500 or status in WORTH_ANOTHER_TRY:
            return LabelStudioUnreachable(f"POST {EXCHANGE} at {self.url}: {status}")
        return LabelStudioRefused(
            f"{self.url} takes no access from this personal access token ({status}): it is not "
            "valid there, has expired or was revoked, or Label Studio has a new SECRET_KEY. Make "
            "a new one in Label Studio (Account & Settings > Personal Access Token) and set "
            "LABEL_STUDIO_API_KEY"
        )


def _limits(url: str) -> httpx.Limits:
    # Label Studio's own server sends headers and body apart with Nagle's algorithm on: on a
    # connection that is kept, every answer waits 40 ms for the client's delayed ACK (measured:
    # 52 ms instead of 8). Opening a plain connection costs far less; a TLS one does not.
    if url.startswith("https://"):
        return httpx.Limits(max_connections=20, max_keepalive_connections=10)
    return httpx.Limits(max_connections=20, max_keepalive_connections=0)


def _answer(response: httpx.Response) -> Answer:
    location = response.headers.get("location", "?")
    if not response.content:
        return Answer(response.status_code, location, None)
    try:
        return Answer(response.status_code, location, response.json())
    except ValueError:
        return Answer(response.status_code, location, response.text, is_json=False)


def _answer_in(error: ApiError | ParsingError) -> Answer:
    # The SDK keeps an answer that is no JSON as text, and raises even where its status is 200.
    is_json = not isinstance(error.body, str)
    return Answer(
        error.status_code or 0, (error.headers or {}).get("location", "?"), error.body, is_json
    )


def reasons(body: object) -> str:
    """Return Label Studio's own words on what was wrong."""
    if not isinstance(body, dict):
        return str(body)
    return str(body.get("validation_errors") or body.get("detail") or body)
