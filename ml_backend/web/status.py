"""How things stand, as plain data, for /status, /ready and /metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ml_backend.jobs.store import ConnectedProject, Heartbeat, RoundRecord
from ml_backend.web.auth import Caller
from ml_backend.web.services import WebServices

PUBLIC_FIELDS = (
    "project_id",
    "title",
    "label_studio_url",
    "current_version",
    "held",
    "model",
    "audit_share",
)


def status_of(services: WebServices, caller: Caller) -> dict[str, Any]:
    """Everything that the caller may see, ready for JSON."""
    now = services.clock()
    return {
        "version": services.backend_version,
        "time": now.isoformat(),
        "projects": [
            _project_status(services, project)
            for project in services.store.projects()
            if caller.may_see(project.project_id)
        ],
        "trainers": [_trainer(beat, now) for beat in services.store.heartbeats()],
        "problems": problems_of(services),
    }


def problems_of(services: WebServices) -> list[str]:
    """What keeps the backend from doing its work; empty when all is well."""
    beats = services.store.heartbeats()
    if not beats:
        return ["no trainer has been seen: start one with `active-labeler train`"]
    silent_s = (services.clock() - beats[0].seen_at).total_seconds()
    if silent_s > services.silent_after_s:
        return [
            f"no trainer has been seen for {silent_s:.0f} s: is `active-labeler train` running?"
        ]
    return []


def _project_status(services: WebServices, project: ConnectedProject) -> dict[str, Any]:
    store, appraisal = services.store, services.appraisal(project.project_id)
    counts = dataclasses.asdict(store.counts(project.project_id))
    latest = store.rounds(project.project_id, limit=1)
    fine_tunes = store.fine_tunes(project.project_id, limit=1)
    shown = {name: getattr(project, name) for name in PUBLIC_FIELDS}
    return {
        **shown,
        "classes": list(project.control.classes),
        "connected_at": project.connected_at.isoformat(),
        **_readable(counts),
        "last_round": _round(latest[0]) if latest else None,
        "fine_tune": _readable(dataclasses.asdict(fine_tunes[0])) if fine_tunes else None,
        "appraisal": {**appraisal, "map": None} if appraisal else None,
    }


def _round(record: RoundRecord) -> dict[str, Any]:
    return _readable(dataclasses.asdict(record))


def _trainer(beat: Heartbeat, now: datetime) -> dict[str, Any]:
    age_s = (now - beat.seen_at).total_seconds()
    return {**_readable(dataclasses.asdict(beat)), "age_s": round(age_s, 3)}


def _readable(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
    }
