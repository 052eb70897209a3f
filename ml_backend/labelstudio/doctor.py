"""Name each thing in Label Studio that can silently break the loop, and what to do about it.

Reads only, and takes no lock. What ought to be is given by the caller; this module does not know
where it is stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from ml_backend.errors import ActiveLabelerError, ImageUnreadable, LabelStudioError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.connection import (
    BLOCKED,
    EVENTS,
    OPEN_THE_ADDRESS,
    SECRET_HEADER,
    Connection,
    Registered,
    webhook_url,
)
from ml_backend.labelstudio.images import ImageReader
from ml_backend.labelstudio.labeling_config import parse_control
from ml_backend.labelstudio.labeling_queue import UNCERTAINTY_SAMPLING, LabelingQueue
from ml_backend.labelstudio.projects import ProjectFacts, ProjectReader
from ml_backend.records import Finding, Task

TESTED_VERSION = (1, 23)
ORDER_LIMIT = 200  # tasks of the served order that are compared
CONNECT_AGAIN = "run `active-labeler connect` again: it repairs this"
SYNC = "run `active-labeler sync`"


@dataclass(frozen=True, slots=True)
class Expected:
    """What ought to be in Label Studio. None or empty: not known, so not checked."""

    control_name: str | None = None
    backend_url: str | None = None
    secret_sha256: str | None = None
    model_version: str | None = None
    published: Sequence[int] = ()  # task ids of the version, wanted first
    sample: Sequence[Task] = ()  # tasks whose images are fetched


@dataclass(frozen=True, slots=True)
class Patient:
    """What the checks look at, read once."""

    facts: ProjectFacts
    registered: Registered
    queue: LabelingQueue
    images: ImageReader
    expected: Expected
    project_id: int

    @property
    def nothing_waits(self) -> bool:
        """Whether each task is finished, or there is none: no order can be in force then."""
        return self.facts.finished_count >= self.facts.task_count


def examine(
    client: LabelStudioClient, images: ImageReader, project_id: int, expected: Expected
) -> list[Finding]:
    """Run all checks that need Label Studio; a check that cannot be made is a failure."""
    findings = [_attempt("Label Studio", lambda: _server(client))]
    if findings[0].state == "failure":
        return findings
    findings.append(_attempt("token", lambda: _token(client)))
    try:
        facts = ProjectReader(client, project_id).facts()
        control = parse_control(facts.label_config, expected.control_name)
        registered = Connection(client, project_id).registered(expected.backend_url)
    except ActiveLabelerError as error:
        return [*findings, Finding("project", "failure", str(error))]
    queue = LabelingQueue(client, project_id, control)
    patient = Patient(facts, registered, queue, images, expected, project_id)
    choices = f"<Choices name={control.from_name!r}> with {len(control.classes)} choices"
    findings.append(Finding("labeling config", "ok", choices))
    return findings + [_attempt(name, partial(check, patient)) for name, check in CHECKS]


def _attempt(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except LabelStudioError as error:
        return Finding(name, "failure", str(error))


def _server(client: LabelStudioClient) -> Finding:
    about = client.get("/api/version")
    release, edition = about["release"], about.get("edition", "Community")
    detail = f"{release}, {edition} edition, at {client.url}"
    if edition != "Community":
        # Only the Community edition has no project members, and so keeps the exact order.
        return Finding(
            "Label Studio",
            "warning",
            f"{detail}: in a project with more than one member it serves at random among the "
            "published tasks",
            "publish a short window (ACTIVE_LABELER_WINDOW), so that random is random among the "
            "best, or label with one member",
        )
    if tuple(int(part) for part in release.split(".")[:2] if part.isdigit()) != TESTED_VERSION:
        tested = ".".join(map(str, TESTED_VERSION))
        return Finding("Label Studio", "warning", f"{detail}; tested with {tested}")
    return Finding("Label Studio", "ok", detail)


def _token(client: LabelStudioClient) -> Finding:
    return Finding("token", "ok", f"a {client.token_kind} of {client.whoami()['email']}")


def _overlap(patient: Patient) -> Finding:
    if patient.facts.overlap > 1:
        return Finding(
            "overlap",
            "warning",
            f"each task wants {patient.facts.overlap} annotations: Label Studio first serves tasks "
            "that others began, at random, and the order counts for new tasks only",
            "set Annotations per task to 1 where the order matters more",
        )
    return Finding("overlap", "ok", "one annotation a task")


def _sampling(patient: Patient) -> Finding:
    sampling = patient.facts.settings.sampling
    if patient.nothing_waits:
        return Finding("sampling", "ok", f"{sampling!r}, and no task waits for an order")
    if sampling != UNCERTAINTY_SAMPLING:
        return Finding("sampling", "failure", f"{sampling!r}: the order has no effect", SYNC)
    return Finding("sampling", "ok", sampling)


def _model_version(patient: Patient) -> Finding:
    served, wanted = patient.facts.settings.model_version, patient.expected.model_version
    if patient.nothing_waits:
        return Finding("model version", "ok", f"{served!r}, and no task waits for an order")
    titles = [backend["title"] for backend in patient.registered.backends]
    if served in titles:
        detail = f"{served!r}, the backend's title: tasks are served at random"
        return Finding("model version", "failure", detail, SYNC)
    if wanted is not None and served != wanted:
        detail = f"{served!r}, while {wanted!r} was published"
        return Finding("model version", "failure", detail, SYNC)
    if not served:
        return Finding("model version", "failure", "none: tasks are served at random", SYNC)
    return Finding("model version", "ok", served)


def _automatic(patient: Patient) -> Finding:
    if patient.facts.settings.evaluate_predictions_automatically:
        return Finding(
            "live predictions",
            "warning",
            "looking at the task list asks the backend for predictions of every task on the page",
            "switch evaluate_predictions_automatically off",
        )
    return Finding("live predictions", "ok", "only on request")


def _backend(patient: Patient) -> Finding:
    name, found = "ML backend", patient.registered.backends
    if not found:
        return Finding(name, "failure", "not registered in the project", CONNECT_AGAIN)
    if len(found) > 1:
        return Finding(name, "warning", f"registered {len(found)} times", CONNECT_AGAIN)
    backend, wanted = found[0], patient.expected.backend_url
    if wanted is not None and backend["url"].rstrip("/") != wanted.rstrip("/"):
        detail = f"registered at {backend['url']}, while it is at {wanted}"
        return Finding(name, "failure", detail, CONNECT_AGAIN)
    if backend["state"] == "DI":
        why = str(backend["error_message"] or "no reason given")
        remedy = OPEN_THE_ADDRESS if BLOCKED in why else "start it: `active-labeler serve`"
        detail = f"Label Studio cannot reach {backend['url']}: {why[:200]}"
        return Finding(name, "failure", detail, remedy)
    return Finding(name, "ok", f"Label Studio reaches {backend['url']}")


def _host_name(patient: Patient) -> Finding:
    urls = [backend["url"] for backend in patient.registered.backends]
    hosts = [urlsplit(patient.expected.backend_url or (urls[0] if urls else "")).hostname or ""]
    for host in hosts:
        if host and "." not in host and ":" not in host and host != "localhost":
            return Finding(
                "host name",
                "failure",
                f"{host!r} has no dot: Label Studio makes no webhook for it, and does not say so",
                "use an IP address or a name with a dot, such as a network alias "
                "active-labeler.internal, as the backend's address",
            )
    return Finding("host name", "ok", hosts[0] or "not known")


def _webhook(patient: Patient) -> Finding:
    problem = _webhook_problem(patient)
    if problem is not None:
        return Finding("webhook", "failure", problem, f"{CONNECT_AGAIN}. {OPEN_THE_ADDRESS}")
    if len(patient.registered.webhooks) > 1:
        detail = f"{len(patient.registered.webhooks)} webhooks lead here: each event comes again"
        return Finding("webhook", "warning", detail, CONNECT_AGAIN)
    return Finding("webhook", "ok", "active, with its secret and its events")


def _webhook_problem(patient: Patient) -> str | None:
    base = patient.expected.backend_url
    if base is None and patient.registered.backends:
        base = patient.registered.backends[0]["url"]
    url = webhook_url(base or "", patient.project_id)
    hook = next((each for each in patient.registered.webhooks if each["url"] == url), None)
    if hook is None:
        return f"there is none to {url}"
    if not hook["is_active"]:
        return "it is switched off"
    missing = set() if hook["send_for_all_actions"] else set(EVENTS) - set(hook["actions"])
    if missing:
        return f"it does not report {', '.join(sorted(missing))}"
    wanted = patient.expected.secret_sha256
    carried = str(hook["headers"].get(SECRET_HEADER, ""))
    if wanted is not None and hashlib.sha256(carried.encode()).hexdigest() != wanted:
        return "it does not carry the secret, so its events are refused"
    return None


def _window(patient: Patient) -> Finding:
    left = patient.queue.unserved()
    waiting = patient.facts.task_count - patient.facts.finished_count
    detail = f"{left} of {waiting} unfinished tasks have a place"
    if left == 0 and waiting > 0:
        return Finding("queue", "failure", f"{detail}: tasks are served at random", SYNC)
    if left < min(waiting, 10):
        return Finding("queue", "warning", f"{detail}: annotators will soon be past them", SYNC)
    return Finding("queue", "ok", detail)


def _served_order(patient: Patient) -> Finding:
    published = list(patient.expected.published)
    if not published:
        return Finding("served order", "ok", "nothing published to compare with")
    served = patient.queue.served_order(ORDER_LIMIT)
    if not served:
        return Finding("served order", "ok", "nothing with a place is left to be served")
    still_there = set(served)
    agreed = [task_id for task_id in published if task_id in still_there]
    if agreed[: len(served)] != served:
        at = next(
            (
                row
                for row, pair in enumerate(zip(served, agreed, strict=False))
                if pair[0] != pair[1]
            ),
            len(agreed),
        )
        detail = f"differs from what was published at place {at + 1}: task {served[at]} is served"
        return Finding("served order", "failure", detail, SYNC)
    return Finding("served order", "ok", f"the next {len(served)} tasks are the published ones")


def _images(patient: Patient) -> Finding:
    reasons = []
    for task in patient.expected.sample:
        try:
            patient.images.read(task.task_id, task.image_uri)
        except ImageUnreadable as error:
            reasons.append(f"task {task.task_id}: {error}")
    tried = len(patient.expected.sample)
    if reasons:
        state = "failure" if len(reasons) == tried else "warning"
        return Finding("images", state, f"{len(reasons)} of {tried} unreadable; {reasons[0]}")
    return Finding("images", "ok", f"{tried} tried, all readable")


CHECKS: tuple[tuple[str, Callable[[Patient], Finding]], ...] = (
    ("overlap", _overlap),
    ("sampling", _sampling),
    ("model version", _model_version),
    ("live predictions", _automatic),
    ("ML backend", _backend),
    ("host name", _host_name),
    ("webhook", _webhook),
    ("queue", _window),
    ("served order", _served_order),
    ("images", _images),
)
