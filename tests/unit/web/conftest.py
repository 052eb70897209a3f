"""An app on a real store in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from ml_backend.web.app import create_app
from ml_backend.web.services import WebServices

from .builders import services


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServices]:
    """What the app works with; the store holds the projects 7 and 8."""
    built = services(tmp_path)
    yield built
    built.store.close()


@pytest.fixture
def client(web: WebServices) -> FlaskClient:
    """A browser without cookies."""
    return create_app(web).test_client()
