"""Signing in to a real Label Studio as its page does: who is let in, and who is not."""

from __future__ import annotations

import pytest

from scripts.label_studio_content import signed_in
from scripts.run.servers import lets_in
from tests.label_studio_server import PASSWORD, SECOND, TestServer

pytestmark = pytest.mark.label_studio


def test_a_login_is_let_in(label_studio: TestServer) -> None:
    with signed_in(label_studio.url, SECOND, PASSWORD) as client:
        assert client.get("/api/current-user/whoami").json()["email"] == SECOND
    assert lets_in(label_studio.url, SECOND, PASSWORD)


def test_a_wrong_password_is_refused_at_once(label_studio: TestServer) -> None:
    """Label Studio answers 200 and sets a session even so."""
    with (
        pytest.raises(PermissionError, match=r"did not sign second@example\.org in"),
        signed_in(label_studio.url, SECOND, "of another Label Studio"),
    ):
        pass
    assert not lets_in(label_studio.url, SECOND, "of another Label Studio")


def test_where_nobody_answers_nobody_is_let_in() -> None:
    assert not lets_in("http://127.0.0.1:1", SECOND, PASSWORD)
