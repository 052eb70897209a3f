"""Register our backend and our webhook with a project, repair them, find them, remove them.

Stores nothing: what is ours is recognised by the backend's title, and by where a webhook leads or
what it carries.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, NoReturn

from ml_backend.errors import ConfigurationError, LabelStudioNotFound, LabelStudioRefused
from ml_backend.labelstudio.client import LabelStudioClient, Reply

TITLE = "Active Labeler"
BASIC_AUTH_USER = "label-studio"
SECRET_HEADER = "X-Active-Labeler-Secret"  # noqa: S105 (a header's name)
EVENTS = (
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATIONS_DELETED",
    "TASKS_CREATED",
    "TASKS_DELETED",
    "PROJECT_UPDATED",
)
REFUSALS = frozenset({400, 403, 500})
BLOCKED = "reserved network address"
OPEN_THE_ADDRESS = (
    "Label Studio blocks private addresses by two switches, SSRF_PROTECTION_ENABLED (webhooks) and "
    "ML_BLOCK_LOCAL_IP (ML backends). Rather than switching both off, start Label Studio with "
    "USE_DEFAULT_BANNED_SUBNETS=false and USER_ADDITIONAL_BANNED_SUBNETS=169.254.0.0/16: that "
    "opens private addresses to both and keeps the metadata services of clouds blocked"
)


@dataclass(frozen=True, slots=True)
class Registration:
    """The ids of what is registered in Label Studio."""

    backend_id: int
    webhook_id: int


@dataclass(frozen=True, slots=True)
class Registered:
    """What of ours a project has, as Label Studio describes it; empty where nothing."""

    backends: tuple[dict[str, Any], ...]
    webhooks: tuple[dict[str, Any], ...]


def webhook_url(backend_url: str, project_id: int) -> str:
    """Return where Label Studio sends a project's events."""
    return f"{backend_url.rstrip('/')}/webhook?project={project_id}"


class Connection:
    """Backend and webhook of one project."""

    def __init__(self, client: LabelStudioClient, project_id: int) -> None:
        self._client = client
        self._project_id = project_id

    def registered(self, backend_url: str | None = None) -> Registered:
        """Find our backends and webhooks in the project.

        Ours is a backend that has our title or `backend_url`, and a webhook that goes to one of
        those or carries our header. Label Studio asks each backend for its health before it
        answers, some seconds at most.
        """
        url = None if backend_url is None else backend_url.rstrip("/")
        backends = self._client.get("/api/ml", {"project": self._project_id})
        ours = [
            each for each in backends if each["title"] == TITLE or each["url"].rstrip("/") == url
        ]
        bases = {f"{each['url'].rstrip('/')}/webhook" for each in ours} | {f"{url}/webhook"}
        hooks = self._client.get("/api/webhooks/", {"project": self._project_id})
        return Registered(
            tuple(ours),
            tuple(
                each
                for each in hooks
                if each["url"].split("?")[0] in bases or SECRET_HEADER in each["headers"]
            ),
        )

    def ensure(self, backend_url: str, secret: str) -> Registration:
        """Register backend and webhook, or repair what is there; changes nothing else.

        `backend_url` is where Label Studio reaches us; it is asked at once, so we must be serving.
        Label Studio sets the project's model_version to our title if it was empty, which makes the
        queue random: read the settings to put back beforehand, and switch the queue afterwards.
        Raises ConfigurationError where Label Studio cannot reach the address, LabelStudioRefused
        where it may not.
        """
        backend_id = self._settle_backend(backend_url, secret)
        # Label Studio makes a webhook of its own for a new backend. It carries no secret and
        # reports everything; with ours beside it, each event would come twice.
        return Registration(backend_id, self._settle_webhook(backend_url, secret))

    def secret_of(self, webhook_id: int) -> str | None:
        """Return the secret that a webhook carries; None where it is gone or carries none."""
        try:
            headers = self._client.get(f"/api/webhooks/{webhook_id}/")["headers"]
        except LabelStudioNotFound:
            return None
        secret = headers.get(SECRET_HEADER)
        return secret if isinstance(secret, str) else None

    def remove(self, backend_id: int | None = None, webhook_id: int | None = None) -> None:
        """Remove our backend and webhooks, by id and by title; what is gone already is no error."""
        found = self.registered()
        hooks = {each["id"] for each in found.webhooks} | {webhook_id}
        backends = {each["id"] for each in found.backends} | {backend_id}
        for known in hooks - {None}:
            self._delete(f"/api/webhooks/{known}/")
        for known in backends - {None}:
            self._delete(f"/api/ml/{known}")

    def _settle_backend(self, backend_url: str, secret: str) -> int:
        wanted = {
            # All of them in a repair, too: Label Studio checks the address with what it is sent.
            "project": self._project_id,
            "url": backend_url.rstrip("/"),
            "title": TITLE,
            "is_interactive": False,
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": BASIC_AUTH_USER,
            "basic_auth_pass": secret,
        }
        registered = self.registered(backend_url)
        found = registered.backends
        for other in found[1:]:
            self._delete(f"/api/ml/{other['id']}")
            # Label Studio leaves the webhook there that it made for it.
            for hook in registered.webhooks:
                if hook["url"] == f"{other['url'].rstrip('/')}/webhook":
                    self._delete(f"/api/webhooks/{hook['id']}/")
        if found:
            return _accepted(self._send("PATCH", f"/api/ml/{found[0]['id']}", wanted), backend_url)
        reply = self._send("POST", "/api/ml", wanted)
        if reply.status in REFUSALS:
            # Where only one of the two protections is off, Label Studio may keep what it refused.
            for backend in self.registered(backend_url).backends:
                self._delete(f"/api/ml/{backend['id']}")
        return _accepted(reply, backend_url)

    def _settle_webhook(self, backend_url: str, secret: str) -> int:
        wanted = expected_webhook(backend_url, self._project_id, secret)
        found = self.registered(backend_url).webhooks
        ours = next((hook for hook in found if hook["url"] == wanted["url"]), None)
        if ours is None:
            webhook_id = _accepted(self._send("POST", "/api/webhooks/", wanted), wanted["url"])
        else:
            webhook_id = ours["id"]
            if not _same_webhook(ours, wanted):
                path = f"/api/webhooks/{webhook_id}/"
                _accepted(self._send("PATCH", path, wanted), wanted["url"])
        for hook in found:
            if hook["id"] != webhook_id:
                self._delete(f"/api/webhooks/{hook['id']}/")
        return webhook_id

    def _send(self, method: str, path: str, json: dict[str, Any]) -> Reply:
        return self._client.send(method, path, json=json, accept=REFUSALS)

    def _delete(self, path: str) -> None:
        with contextlib.suppress(LabelStudioNotFound):
            self._client.delete(path)


def expected_webhook(backend_url: str, project_id: int, secret: str) -> dict[str, Any]:
    """Return the webhook as it ought to be."""
    return {
        "project": project_id,
        "url": webhook_url(backend_url, project_id),
        "send_payload": True,
        "send_for_all_actions": False,
        "headers": {SECRET_HEADER: secret},
        "is_active": True,
        "actions": list(EVENTS),  # leaving them out of a repair would empty them
    }


def _same_webhook(hook: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        set(hook[key]) == set(value) if key == "actions" else hook[key] == value
        for key, value in wanted.items()
    )


def _accepted(reply: Reply, url: str) -> int:
    if reply.status in REFUSALS:
        _explain(reply.body, url)
    return int(reply.body["id"])


def _explain(body: dict[str, Any], url: str) -> NoReturn:
    words = str(body.get("validation_errors") or body.get("detail"))
    if BLOCKED in words:
        raise LabelStudioRefused(f"Label Studio may not call {url}. {OPEN_THE_ADDRESS}")
    if "Enter a valid URL" in words:
        raise ConfigurationError(
            f"Label Studio takes no webhook to {url}: it wants a host name with a dot, an IP "
            "address or localhost. In a compose file give the backend a network alias such as "
            "active-labeler.internal"
        )
    if "resolve hostname" in words:
        raise ConfigurationError(f"Label Studio cannot resolve the host name in {url}")
    if "authentication parameters" in words:
        raise ConfigurationError(
            f"Label Studio reaches {url}, and the backend there refuses the secret: "
            "is it running with the same database as this command?"
        )
    raise ConfigurationError(
        f"Label Studio cannot use {url}: {words[:400]}. The address must lead to this backend from "
        "where Label Studio runs, and the backend must be serving"
    )
