"""Everything `doctor` looks at: Label Studio's side, and our own."""

from __future__ import annotations

from datetime import datetime, timedelta

from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.doctor import Expected, examine
from ml_backend.labelstudio.images import ImageReader
from ml_backend.records import Finding, Task

SAMPLED_IMAGES = 3
SILENT_AFTER = timedelta(seconds=30)
WAITS_TOO_LONG = timedelta(seconds=60)
TRAIN = "start `active-labeler train`"


def diagnose(
    client: LabelStudioClient,
    images: ImageReader,
    store: Store,
    project_id: int,
    now: datetime,
) -> list[Finding]:
    """Return all findings, Label Studio's first. Changes nothing and takes no lock."""
    project = store.get_project(project_id)
    findings = examine(client, images, project_id, _expected(store, project))
    if project is None:
        remedy = f"active-labeler connect --project {project_id} --backend-url ..."
        return [*findings, Finding("connection", "failure", "not connected here", remedy)]
    findings.append(_trainer(store, now))
    findings.append(_news(store, project_id, now))
    findings.append(_last_round(store, project))
    findings.append(_unreadable(store, project_id))
    findings.append(_model(store, project))
    findings.append(_holdout(store, project))
    return findings


def _expected(store: Store, project: ConnectedProject | None) -> Expected:
    if project is None:
        return Expected()
    mirror = store.mirror(project.project_id)
    every = range(len(mirror.unreadable))
    # Where none could be read, the reason is wanted.
    to_try = [row for row in every if mirror.unreadable[row] is None] or [*every]
    step = max(1, len(to_try) // SAMPLED_IMAGES)
    rows = to_try[::step][:SAMPLED_IMAGES]
    return Expected(
        control_name=project.control.from_name,
        backend_url=project.backend_url,
        secret_sha256=project.secret_sha256,
        model_version=project.current_version,
        published=store.window(project.project_id, project.current_version or ""),
        sample=[Task(int(mirror.task_ids[row]), mirror.image_uris[row]) for row in rows],
    )


def _trainer(store: Store, now: datetime) -> Finding:
    beats = store.heartbeats()
    if not beats:
        return Finding("trainer", "warning", "none has ever run: nothing is learned", TRAIN)
    last = max(beats, key=lambda beat: beat.seen_at)
    ago = now - last.seen_at
    if ago > SILENT_AFTER:
        return Finding("trainer", "warning", f"silent for {ago.total_seconds():.0f} s", TRAIN)
    return Finding("trainer", "ok", f"{last.owner}: {last.doing}")


def _news(store: Store, project_id: int, now: datetime) -> Finding:
    counts = store.counts(project_id)
    if counts.waiting_since and now - counts.waiting_since > WAITS_TOO_LONG:
        waited = (now - counts.waiting_since).total_seconds()
        detail = f"{counts.waiting} events have waited for {waited:.0f} s"
        return Finding("news", "warning", detail, f"{TRAIN}, or look into its log")
    return Finding("news", "ok", f"{counts.waiting} events wait for the next round")


def _last_round(store: Store, project: ConnectedProject) -> Finding:
    if project.held:
        remedy = f"active-labeler sync --project {project.project_id}"
        return Finding("rounds", "warning", "a rollback holds the queue", remedy)
    rounds = store.rounds(project.project_id, limit=1)
    if not rounds:
        return Finding("rounds", "warning", "none yet", TRAIN)
    if rounds[0].state == "failed":
        why = str(rounds[0].report.get("error", "killed"))
        return Finding("rounds", "failure", f"the last one failed: {why}", "mend what it names")
    return Finding("rounds", "ok", f"the last one: {rounds[0].state}")


def _unreadable(store: Store, project_id: int) -> Finding:
    reasons = store.unreadable(project_id)
    if not reasons:
        return Finding("unreadable images", "ok", "none")
    task_id, reason = next(iter(reasons.items()))
    detail = f"{len(reasons)} stand at the end of the queue; task {task_id}: {reason}"
    return Finding(
        "unreadable images", "warning", detail, "active-labeler status --json lists them all"
    )


def _model(store: Store, project: ConnectedProject) -> Finding:
    models = sorted(store.models(project.project_id), key=lambda record: record.changed_at)
    if models and models[-1].state == "damaged":
        remedy = f"active-labeler models list --project {project.project_id}, then promote another"
        return Finding("model", "warning", f"{models[-1].model} {models[-1].note}", remedy)
    latest = store.fine_tunes(project.project_id, limit=1)
    if latest and latest[0].state == "failed":
        why = str(latest[0].outcome.get("error", "see the trainer's log"))
        remedy = "mend what it names; the queue goes on with the model that it has"
        return Finding("model", "warning", f"the last fine-tune failed: {why}", remedy)
    return Finding("model", "ok", project.model or "the configured backbone, not fine-tuned")


def _holdout(store: Store, project: ConnectedProject) -> Finding:
    if not project.audit_share:
        detail = "no audit: what a model is worth cannot be measured on labels that it never saw"
        remedy = "detach, set ACTIVE_LABELER_AUDIT_SHARE and connect again"
        return Finding("holdout", "warning", detail, remedy)
    rounds = store.rounds(project.project_id, limit=1)
    held_out = int(rounds[0].report.get("held_out", 0)) if rounds else 0
    detail = f"{held_out} labels, drawn from {project.audit_share:.0%} of the images"
    return Finding("holdout", "ok", detail)
