"""The app under the real server, with the settings that we ship."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ml_backend.jobs.store import Store

from .builders import SECRET, header, project

LIMIT = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model-dir")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """A backend that serves project 7, started as `active-labeler serve` starts it."""
    with closing(Store.open(f"sqlite:///{folder / 'state.sqlite3'}")) as store:
        store.save_project(project(7, SECRET))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    command = [sys.executable, "-m", "gunicorn", "--config", "python:ml_backend.web.gunicorn_conf"]
    settings = {
        "MODEL_DIR": str(folder),
        "PORT": str(number),
        "LOG_LEVEL": "DEBUG",
        "ACTIVE_LABELER_MAX_REQUEST_BYTES": str(LIMIT),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "ml_backend.web.wsgi:app"],
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until_up(number)
        yield number
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0


def wait_until_up(port: int) -> None:
    give_up_at = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)


def ask(port: int, method: str, path: str, **how: object) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, **how)  # type: ignore[arg-type]
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def send_in_chunks(port: int, *chunks: bytes) -> tuple[int, str]:
    headers = {"Content-Type": "application/json", **header(SECRET)}
    return ask(
        port,
        "POST",
        "/webhook?project=7",
        body=iter(chunks),
        headers=headers,
        encode_chunked=True,
    )


def test_server_is_up(port: int) -> None:
    status, body = ask(port, "GET", "/health")

    assert status == 200
    assert "UP" in body


def test_body_in_chunks_is_stored(port: int, folder: Path) -> None:
    assert send_in_chunks(port, b'{"action": ', b'"START_TRAINING"}')[0] == 200

    with closing(Store.open(f"sqlite:///{folder / 'state.sqlite3'}")) as store:
        assert store.is_dirty(7)


@pytest.mark.parametrize("start", [b"", b'{"action": "START_TRAINING"}'])
def test_body_in_chunks_over_the_limit_is_refused_and_not_cut(port: int, start: bytes) -> None:
    status, body = send_in_chunks(port, start, *[b" " * 1000] * 11)

    assert status == 413
    assert "error" in body


AUTHORIZED = f"Host: x\r\nContent-Type: application/json\r\nX-Active-Labeler-Secret: {SECRET}\r\n"
CHUNKED = f"POST /webhook HTTP/1.1\r\n{AUTHORIZED}Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, perhaps\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
        b"GET /health HTTP/1.1\r\nX: " + b"1" * 20_000 + b"\r\n\r\n",
        b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello",
        f"POST /webhook HTTP/1.1\r\n{AUTHORIZED}Content-Length: 500\r\n\r\n{{".encode(),
        f"{CHUNKED}zz\r\nhello\r\n0\r\n\r\n".encode(),
        f"{CHUNKED}5\r\nhel".encode(),
        f"{CHUNKED}ffffffffffffffff\r\nhel".encode(),
    ],
)
def test_broken_http_is_refused_and_the_server_lives_on(port: int, sent: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(100)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert ask(port, "GET", "/health")[0] == 200


def test_secret_never_reaches_the_log(port: int, folder: Path) -> None:
    ask(port, "GET", f"/status?secret={SECRET.replace(' ', '+')}", headers=header(SECRET))

    log = (folder / "log").read_text()
    assert "/status" in log
    assert "secret of project" not in log.replace("+", " ")
