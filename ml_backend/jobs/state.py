"""What the store hands out: plain frozen dataclasses.

Knows nothing of SQL. Times are aware datetimes in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.records import Annotation, ChoiceControl, ProjectSettings, WebhookEvent

ROUND_STATES = frozenset({"published", "unchanged", "failed", "dry-run", "held"})
# "abandoned" was written, in part at least, and never in force: nothing to go back to.
VERSION_STATES = frozenset({"publishing", "current", "superseded", "abandoned", "deleted"})
# waiting → training → judging → (embedding →) how it ended.
OPEN_FINE_TUNES = frozenset({"waiting", "training", "judging", "embedding"})
FINE_TUNE_STATES = OPEN_FINE_TUNES | {"promoted", "refused", "cancelled", "failed"}
# A champion orders the queue. "damaged" was one, until its files could not be read.
MODEL_STATES = frozenset({"challenger", "champion", "retired", "refused", "damaged", "removed"})

JOB_KINDS = frozenset({"promote", "rollback", "appraise"})
OPEN_JOBS = frozenset({"waiting", "running"})
JOB_STATES = OPEN_JOBS | {"done", "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedProject:
    """A Label Studio project whose queue we order."""

    project_id: int
    label_studio_url: str
    title: str
    control: ChoiceControl
    label_config_hash: str
    webhook_id: int | None
    backend_id: int | None
    backend_url: str  # under which Label Studio reaches us
    secret_sha256: str  # hex; the secret itself is known to Label Studio alone
    found: ProjectSettings  # as they were before connect, for detach
    current_version: str | None = None  # the model version that orders the queue now
    held: bool = False  # rollback holds the queue until the next `sync`
    connected_at: datetime
    audit_share: float = 0.0  # of the images: drawn at random for the holdout; fixed at connect
    model: str | None = None  # the fine-tuned model in force; None: the configured backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right of one trainer to run a round of one project, and what the round has to answer.

    `events` arrived and are not yet done, oldest first; `requested` are the reasons given to
    `mark_dirty`, such as "sync". `lease_id` is new with every claim and fences off older ones.
    """

    project_id: int
    owner: str
    through_event_id: int
    events: tuple[WebhookEvent, ...] = ()
    requested: frozenset[str] = frozenset()
    lease_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """What we know of a project's tasks and annotations: columns, sorted by task_id.

    Row i of each of the four columns is the same task. `annotations` are sorted by their id.
    """

    task_ids: NDArray[np.int64]
    image_uris: list[str]
    content_hashes: list[str | None]  # None: not fetched yet
    unreadable: list[str | None]  # a reason for people; None: nothing wrong is known
    annotations: list[Annotation]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskImage:
    """What we know of one task's image."""

    image_uri: str
    content_hash: str | None  # None: not fetched yet
    unreadable: str | None  # a reason for people; None: nothing wrong is known


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """One round. A state of "running" in a round that is not the newest: its trainer was killed."""

    round_id: int
    project_id: int
    started_at: datetime
    finished_at: datetime | None
    state: str  # running, or one of ROUND_STATES
    model_version: str | None
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """One model version that was, or may have been, written to Label Studio."""

    version: str
    round_id: int
    state: str  # one of VERSION_STATES
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneRecord:
    """One fine-tune of a project's network: asked for, at work, or ended.

    `progress` is what the last sign of life told, `outcome` how it ended; both JSON.
    """

    fine_tune_id: int
    project_id: int
    reason: str  # why it was asked for, such as "news", "button" or "command"
    state: str  # one of FINE_TUNE_STATES
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    owner: str | None
    until: datetime | None  # the owner's lease
    attempts: int  # processes that have worked on it
    cancel: bool  # somebody asked to stop it
    progress: Mapping[str, Any]
    outcome: Mapping[str, Any]

    @property
    def is_open(self) -> bool:
        """Whether it is still to be done, or at work."""
        return self.state in OPEN_FINE_TUNES


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What became of one model of the registry."""

    model: str
    state: str  # one of MODEL_STATES
    note: str  # why, in words for people
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRecord:
    """A task that people want first: an unlabeled one, or a labeled one for a second answer."""

    project_id: int
    task_id: int
    why: str  # in words for people
    asked_at: datetime
    place: int  # lower is sooner
    answers: Mapping[str, str | None]  # those that it had when it was asked: number → choice
    found: Mapping[str, Any] | None  # what was changed in Label Studio, as it was before
    withdrawn: bool  # not wanted any more, and still to be put back in Label Studio


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """Something that was asked of the trainer: done by a process of its own, or still to be."""

    job_id: int
    project_id: int
    kind: str  # one of JOB_KINDS
    arguments: Mapping[str, Any]
    state: str  # one of JOB_STATES
    progress: Mapping[str, Any]  # "doing", "done" and "of", as far as they are known
    error: str | None  # why it failed, in words for people
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    owner: str | None
    until: datetime | None  # the owner's lease
    attempts: int  # processes that have worked on it

    @property
    def is_open(self) -> bool:
        """Whether it is still to be done, or at work."""
        return self.state in OPEN_JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last sign of life of one trainer."""

    owner: str
    seen_at: datetime
    doing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectCounts:
    """How a project stands, for /status and /metrics."""

    tasks: int
    labeled: int  # tasks with at least one annotation that is not a skip and has a choice
    pool: int  # tasks - labeled
    unreadable: int
    annotations: int  # without the skips, as Label Studio counts them
    skips: int
    waiting: int  # events and requests that no finished round has answered
    waiting_since: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    retry_at: datetime | None


def require_one_of(state: str, states: frozenset[str]) -> None:
    """Raise ValueError for a state that does not exist."""
    if state not in states:
        raise ValueError(f"state {state!r}: expected one of {', '.join(sorted(states))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProject:
    """The Label Studio project that images are imported into."""

    project_id: int
    label_studio_url: str
    created_at: str  # as Label Studio writes it: another project of that number has another
    first_task_after: int  # the newest task's id before the first import; 0 where there was none


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedImage:
    """One image that was imported, or is on its way.

    `content_hash` is the SHA-256 of its file in hex, or "uri:" and the SHA-256 of its address.
    `label` is what the source knows of it, whether it was shown to Label Studio or not.
    `task_id` None: sent, and Label Studio has not answered.
    """

    content_hash: str
    source_key: str
    label: str | None
    split: str | None
    sent_at: datetime
    task_id: int | None = None
