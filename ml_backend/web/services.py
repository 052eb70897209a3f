"""What the routes work with. Built in `wiring`; a test builds its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_backend.errors import ConfigurationError
from ml_backend.jobs.store import Store
from ml_backend.records import Finding


@dataclass(frozen=True, slots=True)
class PageServices:
    """What the admin's pages show besides the store; each takes a project's number first.

    `session_key` signs cookies: 32 bytes or more, the same in all workers. `models`, `card` and
    `compare` are the model desk's. `doctor` asks Label Studio and may take seconds. `thumbnail`
    returns a small JPEG of a task; raises ImageUnreadable, LabelStudioError, Busy, and LookupError
    for an unknown task. Links lead to `links_url`.
    """

    session_key: bytes
    models: Callable[[int], list[dict[str, Any]]]
    card: Callable[[int, str], dict[str, Any]]
    compare: Callable[[int, str, str], dict[str, Any]]
    doctor: Callable[[int], list[Finding]]
    thumbnail: Callable[[int, int], bytes]
    links_url: str


@dataclass(frozen=True, slots=True)
class WebServices:
    """The web's collaborators.

    `predict(project_id, tasks)` returns one prediction per task, in their order. `basic_auth` is
    the login and password of people and scrapers; None: only Label Studio gets in.
    `appraisal(project_id)` returns the last one, None before the first. `pages` None serves none.
    """

    store: Store
    clock: Callable[[], datetime]
    basic_auth: tuple[str, str] | None
    max_request_bytes: int
    predict: Callable[[int, Sequence[Mapping[str, Any]]], list[dict[str, Any]]]
    backend_version: str
    appraisal: Callable[[int], Mapping[str, Any] | None] = lambda _project_id: None
    silent_after_s: float = 30.0  # a trainer gives a sign of life every few seconds
    pages: PageServices | None = None

    def __post_init__(self) -> None:
        """Refuse a login without a password: it would be an open door."""
        if self.basic_auth is not None and not all(self.basic_auth):
            raise ConfigurationError("BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both")
