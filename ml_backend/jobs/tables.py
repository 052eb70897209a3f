"""The tables, as the newest migration leaves them (a test compares the two).

Knows SQLAlchemy's schema language and nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)

# SQLite numbers rows by itself only in a column that is called INTEGER.
RowNumber = sa.BigInteger().with_variant(sa.Integer, "sqlite")


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware UTC datetime on every database; SQLite has no time zones of its own."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive datetimes: nobody could say what they mean."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected an aware datetime, got {value!r}")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Read back as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _of_project() -> sa.Column[int]:
    return sa.Column(
        "project_id",
        sa.BigInteger,
        sa.ForeignKey("projects.project_id", ondelete="CASCADE"),
        nullable=False,
    )


projects_table = sa.Table(
    "projects",
    metadata,
    sa.Column("project_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("label_studio_url", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("control", sa.JSON, nullable=False),
    sa.Column("label_config_hash", sa.Text, nullable=False),
    sa.Column("webhook_id", sa.BigInteger),
    sa.Column("backend_id", sa.BigInteger),
    sa.Column("backend_url", sa.Text, nullable=False),
    sa.Column("secret_sha256", sa.Text, nullable=False),
    sa.Column("found", sa.JSON, nullable=False),
    sa.Column("current_version", sa.Text),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("connected_at", UtcDateTime, nullable=False),
    sa.Column("audit_share", sa.Float, nullable=False, server_default="0"),
    sa.Column("model", sa.Text),
)

# Who works on a project. Apart from `projects`, so that connecting again cannot touch a lease;
# its row is also the lock that puts the writers of a project's inbox in line.
leases_table = sa.Table(
    "leases",
    metadata,
    sa.Column(
        "project_id",
        sa.BigInteger,
        sa.ForeignKey("projects.project_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("lease_id", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),
    sa.Column("until", UtcDateTime),
    # An inbox_id; 0: nothing is claimed.
    sa.Column("claimed_through", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("retry_at", UtcDateTime),
)

# What has arrived and no finished round has answered: webhook events, and requests (by mark_dirty).
# A project is dirty while it has a row here.
inbox_table = sa.Table(
    "inbox",
    metadata,
    sa.Column("inbox_id", RowNumber, primary_key=True),
    _of_project(),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("is_request", sa.Boolean, nullable=False),
    sa.Column("task_ids", sa.JSON, nullable=False),
    sa.Column("annotation_ids", sa.JSON, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Index(None, "project_id", "inbox_id"),
    sqlite_autoincrement=True,  # a number is never given twice, or `finish` could delete the wrong
)

tasks_table = sa.Table(
    "tasks",
    metadata,
    sa.Column(
        "project_id",
        sa.BigInteger,
        sa.ForeignKey("projects.project_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("image_uri", sa.Text, nullable=False),
    sa.Column("content_hash", sa.Text),
    sa.Column("unreadable", sa.Text),
    sa.Column("unreadable_at", UtcDateTime),
    sqlite_with_rowid=False,  # stored in the order in which it is read
)

annotations_table = sa.Table(
    "annotations",
    metadata,
    sa.Column("project_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("annotation_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("annotator_id", sa.BigInteger),
    sa.Column("choice", sa.Text),
    sa.Column("was_cancelled", sa.Boolean, nullable=False),
    sa.Column("ground_truth", sa.Boolean, nullable=False),
    sa.ForeignKeyConstraint(
        ["project_id", "task_id"], ["tasks.project_id", "tasks.task_id"], ondelete="CASCADE"
    ),
    sa.Index(None, "project_id", "task_id"),
    sqlite_with_rowid=False,
)

rounds_table = sa.Table(
    "rounds",
    metadata,
    sa.Column("round_id", RowNumber, primary_key=True),
    _of_project(),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("model_version", sa.Text),
    sa.Column("report", sa.JSON, nullable=False),
    sa.Index(None, "project_id", "round_id"),
    sqlite_autoincrement=True,
)

versions_table = sa.Table(
    "versions",
    metadata,
    sa.Column(
        "project_id",
        sa.BigInteger,
        sa.ForeignKey("projects.project_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("round_id", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
)

windows_table = sa.Table(
    "windows",
    metadata,
    sa.Column(
        "project_id",
        sa.BigInteger,
        sa.ForeignKey("projects.project_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("task_ids", sa.JSON, nullable=False),
)

# Fine-tunes of a project's network, asked for, at work and ended. At most one of a project is open.
fine_tunes_table = sa.Table(
    "fine_tunes",
    metadata,
    sa.Column("fine_tune_id", RowNumber, primary_key=True),
    _of_project(),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("owner", sa.Text),
    sa.Column("until", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cancel", sa.Boolean, nullable=False),
    sa.Column("progress", sa.JSON, nullable=False),
    sa.Column("outcome", sa.JSON, nullable=False),
    sa.Index(None, "project_id", "fine_tune_id"),
    sqlite_autoincrement=True,
)

# What became of each fine-tuned model in the registry. What it is stands in its card.
models_table = sa.Table(
    "models",
    metadata,
    sa.Column(
        "project_id",
        sa.BigInteger,
        sa.ForeignKey("projects.project_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
)

# Tasks that people want first, unlabeled ones or labeled ones that need a second look.
fronts_table = sa.Table(
    "fronts",
    metadata,
    sa.Column(
        "project_id",
        sa.BigInteger,
        sa.ForeignKey("projects.project_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("answers", sa.JSON, nullable=False),
    # What was changed in Label Studio, as it was found; null: nothing.
    sa.Column("found", sa.JSON(none_as_null=True)),
    sa.Column("withdrawn", sa.Boolean, nullable=False),
)

# What pages and commands ask of the trainer: each is done by a process of its own.
jobs_table = sa.Table(
    "jobs",
    metadata,
    sa.Column("job_id", RowNumber, primary_key=True),
    _of_project(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("progress", sa.JSON, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("asked_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("owner", sa.Text),
    sa.Column("until", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Index(None, "project_id", "job_id"),
    sqlite_autoincrement=True,
)

heartbeats_table = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("doing", sa.Text, nullable=False),
)
