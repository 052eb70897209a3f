"""Tokens, retries and errors, against a transport that answers from a script."""

import base64
import json

import httpx
import pytest

from ml_backend.errors import (
    ConfigurationError,
    LabelStudioError,
    LabelStudioNotFound,
    LabelStudioRefused,
    LabelStudioUnreachable,
)
from ml_backend.labelstudio.client import LabelStudioClient

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = ".".join(base64.urlsafe_b64encode(part).decode() for part in (b"{}", b"{}", b"signed"))


class Server:
    """Answers each request with the next of `script`; a personal token buys access-1, -2, ..."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        self.bought = 0

    def __call__(self, request):
        if request.url.path == "/api/token/refresh/":
            if json.loads(request.content) != {"refresh": PERSONAL}:
                return httpx.Response(401, json={"detail": "no"})
            self.bought += 1
            return httpx.Response(200, json={"access": f"access-{self.bought}"})
        self.requests.append(request)
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, token=LEGACY, url="http://ls"):
        transport = httpx.MockTransport(self)
        return LabelStudioClient(url, token, 5.0, transport=transport, pause=lambda _seconds: None)


def ok(body=None):
    return httpx.Response(200, json={} if body is None else body)


def test_a_legacy_token_signs_as_it_is():
    server = Server(ok())
    client = server.client()
    client.get("/api/x")

    assert server.requests[0].headers["Authorization"] == f"Token {LEGACY}"
    assert client.token_kind == "legacy token"


def test_a_personal_token_buys_an_access_token_once():
    server = Server(ok(), ok())
    client = server.client(PERSONAL)
    client.get("/api/x")
    client.get("/api/x")

    signed = [request.headers["Authorization"] for request in server.requests]
    assert signed == ["Bearer access-1", "Bearer access-1"]
    assert client.token_kind == "personal access token"


def test_an_access_token_that_ran_out_is_renewed_even_in_a_write():
    server = Server(ok(), httpx.Response(401, json={}), ok({"made": 1}))
    client = server.client(PERSONAL)
    client.get("/api/x")

    assert client.post("/api/y", {"a": 1}) == {"made": 1}
    assert server.requests[-1].headers["Authorization"] == "Bearer access-2"
    assert json.loads(server.requests[-1].content) == {"a": 1}


def test_a_revoked_personal_token_says_what_to_do():
    revoked = PERSONAL[:-4] + "gone"

    with pytest.raises(LabelStudioRefused, match="Make a new one") as raised:
        Server().client(revoked).get("/api/x")
    assert revoked not in str(raised.value)


def test_no_token_says_where_one_is_made():
    with pytest.raises(ConfigurationError, match="LABEL_STUDIO_API_KEY is empty"):
        LabelStudioClient("http://ls", "", 5.0)


def test_reads_are_tried_again():
    server = Server(httpx.ConnectError("no"), httpx.Response(502), ok({"x": 1}))

    assert server.client().get("/api/x") == {"x": 1}


def test_reads_give_up_after_three():
    server = Server(*[httpx.ReadTimeout("slow")] * 3)

    with pytest.raises(LabelStudioUnreachable, match="ReadTimeout"):
        server.client().get("/api/x")
    assert len(server.requests) == 3


@pytest.mark.parametrize("method", ["post", "patch", "delete"])
def test_writes_are_never_repeated(method):
    server = Server(httpx.ReadTimeout("slow"), ok())

    with pytest.raises(LabelStudioUnreachable):
        getattr(server.client(), method)("/api/x", {})
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, LabelStudioError),
        (401, LabelStudioRefused),
        (403, LabelStudioRefused),
        (404, LabelStudioNotFound),
        (429, LabelStudioUnreachable),
        (500, LabelStudioUnreachable),
        (302, LabelStudioError),
    ],
)
def test_each_refusal_has_its_error(status, error):
    server = Server(httpx.Response(status, json={"detail": "because"}))

    with pytest.raises(error) as raised:
        server.client().post("/api/x", {})
    assert type(raised.value) is error
    assert str(status) in str(raised.value) or status == 302


def test_an_accepted_status_is_no_error():
    reply = (
        Server(httpx.Response(400, json={"detail": "x"}))
        .client()
        .send("POST", "/api/x", accept=frozenset({400}))
    )

    assert (reply.status, reply.body) == (400, {"detail": "x"})


def test_a_redirect_names_where_it_leads():
    moved = httpx.Response(301, headers={"location": "https://ls/api/x"})

    with pytest.raises(LabelStudioError, match="'https://ls/api/x': set LABEL_STUDIO_URL"):
        Server(moved).client().get("/api/x")


def test_a_page_instead_of_json_asks_for_the_address():
    with pytest.raises(LabelStudioError, match="is LABEL_STUDIO_URL"):
        Server(httpx.Response(200, text="<html>")).client().get("/api/x")


def test_the_token_is_in_no_message_and_no_repr():
    server = Server(httpx.Response(400, json={"detail": f"bad token {LEGACY}"}))
    client = server.client()

    with pytest.raises(LabelStudioError) as raised:
        client.post("/api/x", {})
    assert LEGACY not in str(raised.value)
    assert LEGACY not in repr(client)
    assert LEGACY not in repr(client.__dict__)


def test_a_path_in_the_address_is_kept():
    server = Server(ok())
    server.client(url="http://ls/sub/").get("/api/x")

    assert str(server.requests[0].url) == "http://ls/sub/api/x"
