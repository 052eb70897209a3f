"""Who is asking, and for which projects they may ask.

Every connected project has a secret, of which only the SHA-256 is stored. Label Studio's webhook
carries it in a header; its ML backend connector (/setup, /predict, /versions, Start Training) as
the password of Basic authentication, with the user `label-studio`. People and Prometheus come
with BASIC_AUTH_USER and BASIC_AUTH_PASS, and see every project.

Compares digests in constant time, and every stored one, so that an answer's time tells nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

SECRET_HEADER = "X-Active-Labeler-Secret"  # noqa: S105 - a header's name
LABEL_STUDIO_USER = "label-studio"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request carries to show who it is from; None where it carries nothing."""

    secret: str | None = None
    login: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose credentials are right."""

    project_ids: frozenset[int]
    everything: bool = False

    def may_see(self, project_id: int) -> bool:
        """Say whether a project is this caller's business."""
        return self.everything or project_id in self.project_ids


def identify(
    credentials: Credentials,
    basic_auth: tuple[str, str] | None,
    secrets_sha256: Iterable[tuple[int, str]],
) -> Caller | None:
    """Tell who is asking; None when no credential is right.

    `secrets_sha256` holds a project_id and the hex digest of its secret for each project.
    """
    everything = (
        basic_auth is not None
        and credentials.login is not None
        and _same_login(credentials.login, basic_auth)
    )
    given = [_sha256(secret) for secret in _secrets_of(credentials)]
    project_ids = frozenset(
        project_id
        for project_id, expected in secrets_sha256
        if sum(hmac.compare_digest(digest, expected) for digest in given)
    )
    return Caller(project_ids, everything) if everything or project_ids else None


def _secrets_of(credentials: Credentials) -> list[str]:
    secrets = [credentials.secret] if credentials.secret else []
    if credentials.login and credentials.login[0] == LABEL_STUDIO_USER and credentials.login[1]:
        secrets.append(credentials.login[1])
    return secrets


def _same_login(given: tuple[str, str], expected: tuple[str, str]) -> bool:
    # Digests have one length, so that not even the password's length shows.
    user = hmac.compare_digest(_sha256(given[0]), _sha256(expected[0]))
    password = hmac.compare_digest(_sha256(given[1]), _sha256(expected[1]))
    return user & password


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
