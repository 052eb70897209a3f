"""Tokens, retries and errors, against a transport that answers from a script."""

import base64
import json
import subprocess
import sys

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
IN_2100, IN_2001 = 4_102_444_800, 1_000_000_000


def jwt(kind, expires=IN_2100):
    """A token as Label Studio's, but for its signature, which only the server could check."""
    parts = {"alg": "HS256", "typ": "JWT"}, {"token_type": kind, "exp": expires}
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    return ".".join(part.decode().rstrip("=") for part in (*encoded, b"c2lnbmVk"))


PERSONAL = jwt("refresh")


class Server:
    """Answers each request with the next of `script`; a personal token buys bearer(1), bearer(2)"""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        self.bought = 0

    def __call__(self, request):
        if request.url.path == "/api/token/refresh/":
            if json.loads(request.content) != {"refresh": PERSONAL}:
                return httpx.Response(401, json={"detail": "no"})
            self.bought += 1
            return httpx.Response(200, json={"access": jwt(f"access {self.bought}")})
        self.requests.append(request)
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, token=LEGACY, url="http://ls"):
        transport = httpx.MockTransport(self)
        return LabelStudioClient(url, token, 5.0, transport=transport, pause=lambda _seconds: None)


def bearer(n):
    return f"Bearer {jwt(f'access {n}')}"


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
    assert signed == [bearer(1), bearer(1)]
    assert server.bought == 1
    assert client.token_kind == "personal access token"


def test_an_access_token_that_ran_out_is_renewed_even_in_a_write():
    server = Server(ok(), httpx.Response(401, json={}), ok({"made": 1}))
    client = server.client(PERSONAL)
    client.get("/api/x")

    assert client.post("/api/y", {"a": 1}) == {"made": 1}
    assert server.requests[-1].headers["Authorization"] == bearer(2)
    assert json.loads(server.requests[-1].content) == {"a": 1}


def test_a_revoked_personal_token_says_what_to_do():
    revoked = PERSONAL[:-4] + "gone"

    with pytest.raises(LabelStudioRefused, match="Make a new one") as raised:
        Server().client(revoked).get("/api/x")
    assert revoked not in str(raised.value)


def test_a_personal_token_that_has_run_out_says_what_to_do():
    server = Server()

    with pytest.raises(LabelStudioRefused, match="Make a new one"):
        server.client(jwt("refresh", IN_2001)).get("/api/x")
    assert server.bought == 0


def test_an_access_token_that_is_refused_twice_is_an_error():
    server = Server(*[httpx.Response(401, json={})] * 2)

    with pytest.raises(LabelStudioRefused):
        server.client(PERSONAL).post("/api/x", {})
    assert len(server.requests) == 2


def test_threads_that_are_refused_together_buy_one_access_token():
    server = Server(ok())
    client = server.client(PERSONAL)
    client.get("/api/x")
    refused = client._session()

    fresh = {id(client._session(instead_of=refused)) for _ in range(4)}
    client.authorization()

    assert len(fresh) == 1
    assert server.bought == 2


@pytest.mark.parametrize("answer", [httpx.Response(502, text="<html>"), httpx.ReadTimeout("slow")])
def test_a_token_exchange_without_an_answer_is_no_fault_of_the_token(answer):
    def down(request):
        if isinstance(answer, Exception):
            raise answer
        return answer

    transport = httpx.MockTransport(down)
    client = LabelStudioClient("http://ls", PERSONAL, 5.0, transport=transport)

    with pytest.raises(LabelStudioUnreachable, match="token/refresh"):
        client.authorization()


def test_a_path_in_the_address_is_kept_in_the_exchange():
    paths = []

    def answer(request):
        paths.append(request.url.path)
        return httpx.Response(200, json={"access": jwt("access")})

    transport = httpx.MockTransport(answer)
    LabelStudioClient("http://ls/sub/", PERSONAL, 5.0, transport=transport).get("/api/x")

    assert paths == ["/sub/api/token/refresh/", "/sub/api/x"]


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


def delete_prediction(sdk, options):
    return sdk.predictions.with_raw_response.delete(7, request_options=options)


def through_the_sdk(client):
    return client.call("deleting", delete_prediction)


def plainly(client):
    return client.delete("/api/predictions/7/")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("no"),
        httpx.RemoteProtocolError("cut"),
        httpx.ReadTimeout("slow"),
        httpx.Response(502, text="<html>"),
        httpx.Response(429, json={}),
    ],
)
def test_the_sdk_repeats_no_write(answer):
    server = Server(answer, ok())

    with pytest.raises(LabelStudioUnreachable):
        server.client().call("deleting", delete_prediction)
    assert len(server.requests) == 1


def test_a_call_of_the_sdk_is_signed_and_waits_as_long_as_ours():
    server = Server(httpx.Response(204))

    reply = server.client(PERSONAL).call("deleting", delete_prediction)

    request = server.requests[0]
    assert (reply.status, reply.body) == (204, None)
    assert (request.method, request.url.path) == ("DELETE", "/api/predictions/7/")
    assert request.headers["Authorization"] == bearer(1)
    assert set(request.extensions["timeout"].values()) == {5.0}


def test_a_read_of_the_sdk_is_tried_again_by_us():
    server = Server(httpx.ConnectError("no"), httpx.Response(502), ok({"count": 0}))
    client = server.client()

    def count(sdk, options):
        return sdk.projects.with_raw_response.list_counts(request_options=options)

    assert client.read("counting", count) == {"count": 0}


def test_an_access_token_that_ran_out_is_renewed_in_a_write_of_the_sdk():
    server = Server(httpx.Response(401, json={}), httpx.Response(204))

    assert server.client(PERSONAL).call("deleting", delete_prediction).status == 204
    assert [request.headers["Authorization"] for request in server.requests] == [
        bearer(1),
        bearer(2),
    ]


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
@pytest.mark.parametrize("way", [plainly, through_the_sdk])
def test_each_refusal_has_its_error(status, error, way):
    server = Server(httpx.Response(status, json={"detail": "because"}))
    client = server.client()

    with pytest.raises(error) as raised:
        way(client)
    assert type(raised.value) is error
    assert str(status) in str(raised.value) or status == 302


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(301, headers={"location": "https://ls/"}), "'https://ls/': set LABEL"),
        (httpx.Response(200, text="<html>"), "is LABEL_STUDIO_URL"),
    ],
)
def test_the_sdk_led_to_the_wrong_address_says_so(answer, words):
    def count(sdk, options):
        return sdk.projects.with_raw_response.list_counts(request_options=options)

    with pytest.raises(LabelStudioError, match=words):
        Server(answer).client().call("counting", count)


def test_a_refusal_that_the_sdk_raises_can_be_accepted():
    server = Server(httpx.Response(404, json={"detail": "x"}))

    reply = server.client().call("deleting", delete_prediction, frozenset({404}))

    assert (reply.status, reply.body) == (404, {"detail": "x"})


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


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
@pytest.mark.parametrize("way", [plainly, through_the_sdk])
def test_no_token_is_in_a_message_or_a_repr(token, way):
    access = jwt("access 1")
    server = Server(httpx.Response(400, json={"detail": f"bad tokens {token}, {access}"}))
    client = server.client(token)

    with pytest.raises(LabelStudioError) as raised:
        way(client)
    shown = str(raised.value) + repr(client) + repr(client.__dict__)
    assert "bad tokens" in shown
    assert token not in shown
    assert access not in shown


def test_a_path_in_the_address_is_kept():
    server = Server(ok())
    server.client(url="http://ls/sub/").get("/api/x")

    assert str(server.requests[0].url) == "http://ls/sub/api/x"


def test_the_sdk_is_loaded_by_the_first_call_alone():
    code = (
        "import sys\n"
        "from ml_backend.labelstudio import connection, doctor, images, labeling_queue, projects\n"
        "from ml_backend.labelstudio.client import LabelStudioClient\n"
        "LabelStudioClient('http://ls', 'token', 1.0)\n"
        "assert not {'label_studio_sdk', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
