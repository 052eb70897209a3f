"""What the routes work with. Built in `wiring`; a test builds its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_backend.errors import ConfigurationError
from ml_backend.jobs.store import Store


@dataclass(frozen=True, slots=True)
class WebServices:
    """The web's collaborators.

    `predict(project_id, tasks)` returns one prediction per task, in their order. `basic_auth` is
    the login and password of people and scrapers; None: only Label Studio gets in.
    `appraisal(project_id)` returns the last one, None before the first.
    """

    store: Store
    clock: Callable[[], datetime]
    basic_auth: tuple[str, str] | None
    max_request_bytes: int
    predict: Callable[[int, Sequence[Mapping[str, Any]]], list[dict[str, Any]]]
    backend_version: str
    appraisal: Callable[[int], Mapping[str, Any] | None] = lambda _project_id: None
    silent_after_s: float = 30.0  # a trainer gives a sign of life every few seconds

    def __post_init__(self) -> None:
        """Refuse a login without a password: it would be an open door."""
        if self.basic_auth is not None and not all(self.basic_auth):
            raise ConfigurationError("BASIC_AUTH_USER and BASIC_AUTH_PASS go together: set both")
