"""A project that is only read: what is said where Label Studio does not give it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ml_backend.errors import LabelStudioNotFound, LabelStudioRefused, LabelStudioUnreachable
from ml_backend.settings import load_settings
from ml_backend.wiring.imports import open_source

TOKEN = "0123456789abcdef" * 2 + "01234567"  # a legacy one, which is sent as it is


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that has one answer to everything; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(folder: Path, here: str, there: str | None) -> None:
    settings = load_settings(
        model_dir=folder,
        label_studio_url=here,
        label_studio_api_key="" if there else TOKEN,
        source_api_key=TOKEN,
    )
    open_source(settings, {"kind": "label_studio", "project": 7, "url": there})


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (404, LabelStudioNotFound, "has no project 7, or none that the user of {} may see"),
        (401, LabelStudioRefused, "and set {}"),
        (403, LabelStudioRefused, "refuses the token in {}"),
    ],
)
def test_the_token_that_was_used_is_named(
    tmp_path: Path, status: int, kind: type[Exception], told: str
) -> None:
    with answering(status) as url:
        with pytest.raises(kind) as own:
            ask(tmp_path, url, None)
        with pytest.raises(kind) as other:
            ask(tmp_path, "http://127.0.0.1:9", url)
    assert told.format("LABEL_STUDIO_API_KEY") in str(own.value)
    assert told.format("ACTIVE_LABELER_SOURCE_API_KEY") in str(other.value)
    assert TOKEN not in f"{own.value} {other.value}"


def test_a_server_that_is_down_is_named_with_what_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(LabelStudioUnreachable, match=r"127.0.0.1:9.*is it running"):
        ask(tmp_path, "http://127.0.0.1:9", None)
