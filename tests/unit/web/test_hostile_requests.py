"""Ten thousand malformed, oversized and forged requests get 4xx, as JSON, and change nothing.

Seeded: a failure names its number, and the same number makes the same request again.
"""

from __future__ import annotations

import json
import random
import sqlite3
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from ml_backend.web.app import create_app

from .builders import (
    MAX_REQUEST_BYTES,
    PAYLOADS,
    PREDICT,
    SECRET,
    SETUP,
    basic,
    header,
    services,
)

NUMBER = 10_000
POSTED = ("/webhook", "/setup", "/predict")
CLOSED = (*POSTED, "/versions", "/status", "/metrics")
EVERY = (*CLOSED, "/", "/health", "/ready")
Request = dict[str, Any]  # keyword arguments of FlaskClient.open

WRONG_IDS = [0, -1, 2**63, 10**5000, 5.0, 1e308, True, "5", "", None, [], [5], {}, {"id": 5}]
NOT_OBJECTS = [None, True, 5, 1.5, "text", "[]", [5], ["a"], [[]], [None], {"a": 1}]
NOT_JSON = [
    b"",
    b"{",
    b"{'action': 1}",
    b'{"action": NaN}',
    b'{"action": Infinity}',
    b'{"action": "START_TRAINING"} x',
    b'{"action": "\xff\xfe"}',
    b"\xef\xbb\xbf{}",
    b"\x1f\x8b\x08\x00",
    b"\x00" * 100,
    b"[" * 50_000,
    b'{"a":' * 15_000,
    b"9" * 20_000,
    "{}".encode("utf-16"),
    b"action=START_TRAINING&project=7",
    b"<xml/>",
]
NOT_AN_OBJECT = [b"null", b"true", b"7", b"1e999", b'"text"', b"[]", b"[{}]"]
WRONG_PROJECTS = [
    *("", "seven", "7.", ".7", "7.1.2", " 7", "-7", "+7", "٧", "7\n", "0", "9" * 40, "7;8", "0x7"),
    *(0, -7, 7.0, True, None, [], [7], {}, {"id": 7}, 2**63),
]


def right(rng: random.Random) -> dict[str, str]:
    """Credentials that are right, so that what is wrong is the rest."""
    return rng.choice([header(SECRET), basic("label-studio", SECRET)])


def garbage(rng: random.Random, longest: int) -> str:
    """Characters that a header may hold."""
    return "".join(chr(rng.randint(0x20, 0xFF)) for _ in range(rng.randint(0, longest)))


def forged_credentials(rng: random.Random) -> dict[str, str]:
    guess = SECRET[: rng.randint(0, len(SECRET) - 1)] + rng.choice(["", "x", "\xe4"])
    encoded = b64encode(rng.randbytes(rng.randint(0, 60))).decode()
    return rng.choice(
        [
            {},
            header(guess),
            header(garbage(rng, 300)),
            basic("label-studio", guess),
            basic(garbage(rng, 20), SECRET),
            {"Authorization": f"Basic {encoded}"},
            {"Authorization": f"Basic {garbage(rng, 40)}"},
            {"Authorization": garbage(rng, 40)},
            {"Authorization": f"Bearer {SECRET}"},
            {"Authorization": f'Digest username="label-studio", nonce="{encoded}"'},
            {"Cookie": f"session={encoded}; secret={SECRET}"},
        ]
    )


def forged(rng: random.Random) -> Request:
    """A request that is right in all but its credentials."""
    path = rng.choice(CLOSED)
    request: Request = {"path": path, "method": "GET", "headers": forged_credentials(rng)}
    if path in POSTED:
        action = rng.choice(list(PAYLOADS))
        body = {
            "/webhook": {"action": action, **PAYLOADS[action]},
            "/setup": SETUP,
            "/predict": PREDICT,
        }
        request |= {"method": "POST", "json": body[path]}
    return request


def of_another_project(rng: random.Random) -> Request:
    """A right secret that asks for a project that is not its own."""
    number = rng.choice([8, 9, 2**63 - 1])
    path = rng.choice(POSTED)
    body: dict[str, Any] = {**SETUP, **PREDICT, "project": f"{number}.1700000000"}
    if path == "/webhook":
        body = {"action": rng.choice(list(PAYLOADS)), "project": {"id": number}}
    return {"path": path, "method": "POST", "json": body, "headers": right(rng)}


def not_json(rng: random.Random) -> Request:
    cut = json.dumps({"action": "ANNOTATION_CREATED", **PAYLOADS["ANNOTATION_CREATED"]}).encode()
    some = [
        rng.choice(NOT_JSON),
        rng.choice(NOT_AN_OBJECT),
        cut[: rng.randint(0, len(cut) - 1)],
        rng.randbytes(rng.randint(0, 200)),
    ]
    return {
        "path": rng.choice(POSTED),
        "method": "POST",
        "data": rng.choice(some),
        "content_type": rng.choice(["application/json", "application/json; charset=utf-8"]),
        "headers": right(rng),
    }


def of_another_type(rng: random.Random) -> Request:
    types = ["", "text/plain", "text/html", "multipart/form-data; boundary=x", garbage(rng, 30)]
    return {
        "path": rng.choice(POSTED),
        "method": "POST",
        "data": b'{"action": "START_TRAINING", "project": {"id": 7}}',
        "content_type": rng.choice([*types, "application/x-www-form-urlencoded"]),
        "headers": right(rng),
    }


def with_a_wrong_id(rng: random.Random) -> Request:
    """A webhook of the right shape whose ids are none, somewhere."""
    action = rng.choice([name for name in PAYLOADS if name not in ("PROJECT_UPDATED",)])
    payload = json.loads(json.dumps({"action": action, **PAYLOADS[action]}))
    wrong = rng.choice(WRONG_IDS)
    key = rng.choice([key for key in payload if key != "action"])
    target = payload[key]
    if isinstance(target, list):
        target = rng.choice(target)
    target["id"] = wrong
    return webhook(rng, payload)


def of_a_wrong_shape(rng: random.Random) -> Request:
    """A webhook with something else where an object should be."""
    action = rng.choice(["ANNOTATION_CREATED", "ANNOTATIONS_DELETED", "TASKS_CREATED"])
    payload: dict[str, Any] = {"action": action, **PAYLOADS[action]}
    key = rng.choice([key for key in payload if key != "action"])
    payload[key] = rng.choice([value for value in NOT_OBJECTS if value is not None])
    return webhook(rng, payload)


def of_a_wrong_action(rng: random.Random) -> Request:
    wrong = [None, True, 7, [], {}, "", "a", "annotation_created", "A B", "A" * 65, "\u0130", "A\n"]
    return webhook(rng, {"action": rng.choice(wrong), "project": {"id": 7}})


def of_a_wrong_query(rng: random.Random) -> Request:
    queries = ["project=", "project=8", "project=7&project=7", "project=7.1", "project=-7"]
    queries += ["project=%00", "project=%FF", "project=٧", f"project={'9' * 19}", "project[]=7"]
    query = rng.choice(queries)
    payload: dict[str, Any] = {"action": "START_TRAINING"}
    if query not in ("project[]=7", "project=8"):
        payload |= rng.choice([{}, {"project": {"id": 7}}])
    return {**webhook(rng, payload), "query_string": query}


def webhook(rng: random.Random, payload: dict[str, Any]) -> Request:
    return {"path": "/webhook", "method": "POST", "data": dumps(payload), **as_json(rng)}


def of_a_wrong_question(rng: random.Random) -> Request:
    """/setup and /predict with wrong parts."""
    if rng.random() < 0.5:
        body: dict[str, Any] = {**SETUP, "project": rng.choice(WRONG_PROJECTS)}
        return {"path": "/setup", "method": "POST", "data": dumps(body), **as_json(rng)}
    tasks = [*PREDICT["tasks"], {"id": rng.choice(WRONG_IDS[:9]), "data": {}}]
    shapeless = [value for value in NOT_OBJECTS if value != []]
    body = rng.choice(
        [
            {**PREDICT, "project": rng.choice(WRONG_PROJECTS)},
            {**PREDICT, "tasks": rng.choice(shapeless)},
            {**PREDICT, "tasks": tasks},
            {**PREDICT, "tasks": [{"id": 5, "data": rng.choice(shapeless[:-1])}]},
            {name: PREDICT[name] for name in ("project", "params")},
        ]
    )
    return {"path": "/predict", "method": "POST", "data": dumps(body), **as_json(rng)}


def as_json(rng: random.Random) -> Request:
    return {"content_type": "application/json", "headers": right(rng)}


def dumps(value: object) -> bytes:
    """Write JSON; a number of 5,000 digits, too, which Python refuses to write."""
    if "10**5000" not in _marked(value):
        return json.dumps(value).encode()
    return _marked(value).replace('"10**5000"', "1" + "0" * 5000).encode()


def _marked(value: object) -> str:
    def mark(part: object) -> object:
        if isinstance(part, int) and not isinstance(part, bool) and part >= 10**4000:
            return "10**5000"
        if isinstance(part, dict):
            return {key: mark(each) for key, each in part.items()}
        return [mark(each) for each in part] if isinstance(part, list) else part

    return json.dumps(mark(value))


def oversized(rng: random.Random) -> Request:
    size = MAX_REQUEST_BYTES + rng.randint(1, 1000)
    claimed = {"CONTENT_LENGTH": str(rng.choice([size, 2**31, 2**64, 10**30]))}
    how: Request = rng.choice([{"data": b" " * size}, {"environ_overrides": claimed}])
    method = rng.choice(["GET", "POST"])
    return {"path": rng.choice(EVERY), "method": method, **as_json(rng), **how}


def of_a_wrong_method(rng: random.Random) -> Request:
    path = rng.choice(EVERY)
    wrong = ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X" * 50]
    wrong += ["GET", "HEAD"] if path in POSTED else ["POST"]
    return {"path": path, "method": rng.choice(wrong), "headers": right(rng)}


def of_a_wrong_path(rng: random.Random) -> Request:
    known = rng.choice(EVERY)
    paths = [f"{known}/", f"/x/{known}", f"{known}%00", f"{known}/../status", f"/static{known}"]
    paths += ["/x" + garbage(rng, 30).replace("?", "").replace("#", "") + "x", "/" + "a" * 5000]
    paths += ["/train", "/validate", "/.env", "/webhook.json", "/%2e%2e/%2e%2e/etc/passwd"]
    path = rng.choice([path for path in paths if path[:2] != "//"])
    request = {"path": path, "method": rng.choice(["GET", "POST"]), "headers": right(rng)}
    without = {"environ_overrides": {"PATH_INFO": ""}}  # GET http://host HTTP/1.1
    return {**request, **(without if rng.random() < 0.1 else {})}


KINDS: list[Callable[[random.Random], Request]] = [
    forged,
    of_another_project,
    not_json,
    of_another_type,
    with_a_wrong_id,
    of_a_wrong_shape,
    of_a_wrong_action,
    of_a_wrong_query,
    of_a_wrong_question,
    oversized,
    of_a_wrong_method,
    of_a_wrong_path,
]


def contents(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        dump = list(connection.iterdump())
    connection.close()
    return dump


def ask(client: FlaskClient, number: int) -> tuple[str, int]:
    """Send request number so and so; return its kind and the status of the answer."""
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    request = kind(rng)
    answer = client.open(**request)
    told = f"request {number} ({kind.__name__}): {str(request)[:500]} -> {answer.status}"

    assert 400 <= answer.status_code < 500, told
    if request["method"] != "HEAD":
        assert set(answer.json) == {"error"}, told
        assert answer.json["error"], told
    return kind.__name__, answer.status_code


def test_ten_thousand_hostile_requests_are_refused_and_change_nothing(tmp_path: Path) -> None:
    built = services(tmp_path)
    client = create_app(built).test_client()
    before = contents(tmp_path / "state.sqlite3")
    seen = Counter(ask(client, number) for number in range(NUMBER))

    assert contents(tmp_path / "state.sqlite3") == before
    assert {status for _, status in seen} == {400, 401, 404, 405, 413, 415, 422}
    built.store.close()
