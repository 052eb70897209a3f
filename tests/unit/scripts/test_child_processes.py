"""Servers as child processes: whose port it is, and who answers on it."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import httpx
import pytest

from scripts.child_processes import listen, running, usable_port, wait_until_it_answers

LOOPBACK = "127.0.0.1"


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def test_two_that_want_the_same_port_at_once_get_one_each() -> None:
    with listen(LOOPBACK, 9090) as first, listen(LOOPBACK, 9090) as second:
        assert port_of(first) != port_of(second)
        assert usable_port(port_of(first)) not in (port_of(first), port_of(second))


def test_an_address_that_is_not_of_this_machine_is_named() -> None:
    with pytest.raises(click.ClickException, match=r"cannot listen on 192\.0\.2\.1:9090"):
        listen("192.0.2.1", 9090)


def test_the_backend_answers_on_the_socket_that_it_was_given(tmp_path: Path) -> None:
    """Though its settings name a port on which somebody else answers."""
    environment = {"MODEL_DIR": str(tmp_path), "BASIC_AUTH_USER": "u", "BASIC_AUTH_PASS": "p"}
    with (
        (tmp_path / "lock").open("w") as lock,
        listen(LOOPBACK, 9090) as of_others,
        listen(LOOPBACK, 9090) as door,
    ):
        words = ["serve", "--descriptor", str(door.fileno())]
        settings = environment | {"PORT": str(port_of(of_others))}
        descriptors = [door.fileno()]
        with running(
            "backend", words, tmp_path, settings, lock.fileno(), descriptors=descriptors
        ) as child:
            url = f"http://{LOOPBACK}:{port_of(door)}"
            door.close()  # the backend's own is left
            wait_until_it_answers(child, f"{url}/health")
            assert httpx.get(f"{url}/status", auth=("u", "p")).status_code == 200
