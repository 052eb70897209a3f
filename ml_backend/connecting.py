"""Connect, detach, roll back: what an admin does to a project, each safe to do twice.

What is found is noted before anything is changed, so that `detach` can put it back whenever
`connect` stopped halfway. It must not import Flask, torch or the Label Studio SDK.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml_backend.errors import ActiveLabelerError, ConfigurationError
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.labelstudio.connection import Connection
from ml_backend.labelstudio.labeling_config import hash_of, parse_control
from ml_backend.labelstudio.labeling_queue import LabelingQueue
from ml_backend.labelstudio.projects import ProjectReader
from ml_backend.steps.front import close_again
from ml_backend.steps.publish import VERSION_PREFIX

log = logging.getLogger(__name__)

FIRST_ROUND_IS_OURS = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Label Studio as `connect` and `detach` see it, for one project."""

    label_studio_url: str
    store: Store
    reader: ProjectReader
    queue_of: Callable[..., LabelingQueue]  # from a ChoiceControl
    connection: Connection
    now: Callable[[], datetime]
    audit_share: float  # of a project that is connected for the first time
    # The model that made a version's order (None: the configured backbone). Raises LookupError
    # where that is not known any more.
    model_of: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Detached:
    """What `detach` took away."""

    versions: int
    predictions: int


def connect(around: Surroundings, backend_url: str, control_name: str | None) -> ConnectedProject:
    """Register backend and webhook, and note the project as connected; publish nothing yet.

    Again on a connected project: repairs what is missing or changed, keeps what is right.
    Raises UnsupportedLabelingConfig, ConfigurationError, LabelStudioError.
    """
    facts = around.reader.facts()
    before = _known(around, facts.project_id)
    name = control_name or (before.control.from_name if before else None)
    control = parse_control(facts.label_config, name)
    secret = _kept_secret(around, before) or secrets.token_urlsafe(32)
    project = ConnectedProject(
        project_id=facts.project_id,
        label_studio_url=around.label_studio_url,
        title=facts.title,
        control=control,
        label_config_hash=hash_of(facts.label_config),
        webhook_id=before.webhook_id if before else None,
        backend_id=before.backend_id if before else None,
        backend_url=backend_url,
        secret_sha256=sha256_of(secret),
        found=before.found if before else facts.settings,
        current_version=before.current_version if before else None,
        held=before.held if before else False,
        connected_at=before.connected_at if before else around.now(),
        # Kept: images that a model was trained on must not come into the holdout.
        audit_share=before.audit_share if before else around.audit_share,
        model=before.model if before else None,
    )
    # Label Studio calls the backend while it is being registered: it must be known by then.
    around.store.save_project(project)
    # Whoever connects runs the first round; the trainer would do it without their progress bar.
    around.store.hold_off(project.project_id, around.now() + FIRST_ROUND_IS_OURS)
    try:
        ids = around.connection.ensure(backend_url, secret)
    except ActiveLabelerError:
        if before:  # an address that cannot be used must not end a connection that works
            around.store.save_project(before)
        raise
    around.store.update_project(
        project.project_id, webhook_id=ids.webhook_id, backend_id=ids.backend_id
    )
    around.store.mark_dirty(project.project_id, "connect", around.now())
    return _known(around, facts.project_id) or project


def detach(around: Surroundings, project: ConnectedProject) -> Detached:
    """Take away webhook, backend and predictions, and put every setting back as it was found.

    Settings go back before predictions go: a project whose current version is deleted is served
    at random. They are put back once more at the end, since deleting a version may reset them.
    """
    queue = around.queue_of(project.control)
    around.connection.remove(project.backend_id, project.webhook_id)
    for wanted in (False, True):
        for record in around.store.fronts(project.project_id, withdrawn=wanted):
            close_again(queue, record)
    queue.restore(project.found)
    ours = {name: rows for name, rows in queue.versions().items() if is_ours(name)}
    for version in ours:
        queue.delete(version, at_most=None)
    queue.restore(project.found)
    around.store.remove_project(project.project_id)
    return Detached(len(ours), sum(ours.values()))


def roll_back(around: Surroundings, project: ConnectedProject, version: str | None) -> str:
    """Put an earlier version's order in force, with its model, and hold it until the next `sync`.

    Without `version`, the newest superseded one that Label Studio still holds. Raises
    ConfigurationError where there is none.
    """
    queue = around.queue_of(project.control)
    held_there = queue.versions()
    kept = [
        record.version
        for record in around.store.versions(project.project_id)
        if record.state == "superseded" and held_there.get(record.version)
    ]
    wanted = version or (kept[0] if kept else None)
    if wanted not in kept:
        raise ConfigurationError(
            f"version {wanted or '(none named)'}: cannot be rolled back to; "
            f"kept are: {', '.join(kept) or 'none'}"
        )
    queue.flip(wanted)
    _take_its_model_along(around, project, wanted)
    if project.current_version:
        around.store.set_version_state(
            project.project_id, project.current_version, "superseded", around.now()
        )
    around.store.set_version_state(project.project_id, wanted, "current", around.now())
    around.store.update_project(project.project_id, current_version=wanted, held=True)
    return wanted


def _take_its_model_along(around: Surroundings, project: ConnectedProject, version: str) -> None:
    try:
        model = around.model_of(version)
    except LookupError:
        log.warning("%s: the model that made it is not known any more; none is changed", version)
        return
    if model != project.model:
        note = f"back to the order of {version}"
        around.store.switch_model(project.project_id, model, note, around.now())


def is_ours(version: str) -> bool:
    """Tell our model versions from other people's."""
    return version.startswith(VERSION_PREFIX)


def sha256_of(secret: str) -> str:
    """Return what the store keeps of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _known(around: Surroundings, project_id: int) -> ConnectedProject | None:
    project = around.store.get_project(project_id)
    if project and project.label_studio_url != around.label_studio_url:
        raise ConfigurationError(
            f"project {project_id} in this MODEL_DIR belongs to {project.label_studio_url}, and "
            f"LABEL_STUDIO_URL is {around.label_studio_url}: use another MODEL_DIR for it"
        )
    return project


def _kept_secret(around: Surroundings, before: ConnectedProject | None) -> str | None:
    """Return the secret that our webhook carries, if it is still the one that we gave it."""
    if before is None or before.webhook_id is None:
        return None
    secret = around.connection.secret_of(before.webhook_id)
    return secret if secret and sha256_of(secret) == before.secret_sha256 else None
