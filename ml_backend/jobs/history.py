"""Rounds, model versions, published windows and the trainers' signs of life.

Part of the store: see `ml_backend.jobs.store`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ml_backend.jobs.database import Database, upsert
from ml_backend.jobs.state import (
    ROUND_STATES,
    VERSION_STATES,
    Heartbeat,
    ProjectCounts,
    RoundRecord,
    VersionRecord,
    require_one_of,
)
from ml_backend.jobs.tables import (
    annotations_table,
    heartbeats_table,
    inbox_table,
    leases_table,
    rounds_table,
    tasks_table,
    versions_table,
    windows_table,
)

FORGET_HEARTBEATS_AFTER = timedelta(days=1)  # a trainer's name is new with every start


class History:
    """What was done, and how things stand."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start_round(self, project_id: int, now: datetime) -> int:
        """Note that a round begins; returns its id."""
        row = {"project_id": project_id, "started_at": now, "state": "running", "report": {}}
        with self._database.writing() as connection:
            inserted = connection.execute(rounds_table.insert().values(row))
            key = inserted.inserted_primary_key
        assert key is not None
        return int(key[0])

    def finish_round(
        self,
        round_id: int,
        now: datetime,
        *,
        state: str,
        model_version: str | None,
        report: Mapping[str, Any],
    ) -> None:
        """Note how a round ended; `report` must be JSON. Raises LookupError for an unknown one."""
        require_one_of(state, ROUND_STATES)
        statement = (
            rounds_table.update()
            .where(rounds_table.c.round_id == round_id)
            .values(finished_at=now, state=state, model_version=model_version, report=dict(report))
        )
        self._change_one(statement, f"round {round_id}")

    def rounds(self, project_id: int, limit: int = 50) -> list[RoundRecord]:
        """The latest rounds of a project, newest first."""
        query = (
            sa.select(rounds_table)
            .where(rounds_table.c.project_id == project_id)
            .order_by(rounds_table.c.round_id.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [RoundRecord(**row._mapping) for row in connection.execute(query)]

    def round_states(self, project_id: int) -> dict[str, int]:
        """How many rounds of a project ended in which state."""
        query = (
            sa.select(rounds_table.c.state, sa.func.count())
            .where(rounds_table.c.project_id == project_id)
            .group_by(rounds_table.c.state)
        )
        with self._database.reading() as connection:
            return {state: number for state, number in connection.execute(query)}

    def add_version(self, project_id: int, version: str, round_id: int, now: datetime) -> None:
        """Note a version before anything of it is written to Label Studio.

        So whatever a killed round left behind can be found and removed. A version is added once;
        adding it again raises IntegrityError.
        """
        row = {
            "project_id": project_id,
            "version": version,
            "round_id": round_id,
            "state": "publishing",
            "created_at": now,
            "changed_at": now,
        }
        with self._database.writing() as connection:
            connection.execute(versions_table.insert().values(row))

    def set_version_state(self, project_id: int, version: str, state: str, now: datetime) -> None:
        """Note what became of a version. A deleted one keeps no window.

        Raises LookupError for an unknown version.
        """
        require_one_of(state, VERSION_STATES)
        statement = (
            versions_table.update()
            .where(versions_table.c.project_id == project_id, versions_table.c.version == version)
            .values(state=state, changed_at=now)
        )
        self._change_one(statement, f"version {version!r} of project {project_id}")
        if state == "deleted":
            with self._database.writing() as connection:
                connection.execute(windows_table.delete().where(_window_of(project_id, version)))

    def versions(self, project_id: int) -> list[VersionRecord]:
        """All versions that were ever added to a project, newest first."""
        columns = [column for column in versions_table.c if column.name != "project_id"]
        query = (
            sa.select(*columns)
            .where(versions_table.c.project_id == project_id)
            .order_by(versions_table.c.created_at.desc(), versions_table.c.round_id.desc())
        )
        with self._database.reading() as connection:
            return [VersionRecord(**row._mapping) for row in connection.execute(query)]

    def save_window(self, project_id: int, version: str, task_ids: Sequence[int]) -> None:
        """Remember the order that was published under a version, wanted first."""
        row = {"project_id": project_id, "version": version, "task_ids": [int(i) for i in task_ids]}
        with self._database.writing() as connection:
            upsert(connection, windows_table, [row])

    def window(self, project_id: int, version: str) -> list[int]:
        """The order that was published under a version; empty when there is none."""
        query = sa.select(windows_table.c.task_ids).where(_window_of(project_id, version))
        with self._database.reading() as connection:
            return list(connection.scalar(query) or [])

    def beat(self, owner: str, now: datetime, doing: str) -> None:
        """Give a sign of life."""
        with self._database.writing() as connection:
            upsert(connection, heartbeats_table, [{"owner": owner, "seen_at": now, "doing": doing}])
            connection.execute(
                heartbeats_table.delete().where(
                    heartbeats_table.c.seen_at < now - FORGET_HEARTBEATS_AFTER
                )
            )

    def heartbeats(self) -> list[Heartbeat]:
        """The trainers of the last day, latest sign of life first."""
        query = sa.select(heartbeats_table).order_by(
            heartbeats_table.c.seen_at.desc(), heartbeats_table.c.owner
        )
        with self._database.reading() as connection:
            return [Heartbeat(**row._mapping) for row in connection.execute(query)]

    def counts(self, project_id: int) -> ProjectCounts:
        """How a project stands, as of one moment. Raises LookupError for an unknown project."""
        with self._database.reading() as connection:
            row = connection.execute(_counts_query(project_id)).one_or_none()
            if row is None:
                raise LookupError(f"project {project_id} is not connected")
            return ProjectCounts(pool=row.tasks - row.labeled, **row._mapping)

    def _change_one(self, statement: sa.Update, name: str) -> None:
        with self._database.writing() as connection:
            if connection.execute(statement).rowcount == 0:
                raise LookupError(f"there is no {name}")


def _window_of(project_id: int, version: str) -> sa.ColumnElement[bool]:
    return (windows_table.c.project_id == project_id) & (windows_table.c.version == version)


def _counts_query(project_id: int) -> sa.Select[Any]:
    def of(table: sa.Table, what: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> Any:
        query = sa.select(what).select_from(table)
        return query.where(table.c.project_id == project_id, *where).scalar_subquery()

    number = sa.func.count()
    skipped = annotations_table.c.was_cancelled
    usable = (annotations_table.c.choice.is_not(None), ~skipped)
    return sa.select(
        of(tasks_table, number).label("tasks"),
        of(annotations_table, sa.func.count(annotations_table.c.task_id.distinct()), *usable).label(
            "labeled"
        ),
        of(tasks_table, number, tasks_table.c.unreadable.is_not(None)).label("unreadable"),
        of(annotations_table, number, ~skipped).label("annotations"),
        of(annotations_table, number, skipped).label("skips"),
        of(inbox_table, number).label("waiting"),
        of(inbox_table, sa.func.min(inbox_table.c.received_at)).label("waiting_since"),
        leases_table.c.owner.label("lease_owner"),
        leases_table.c.until.label("lease_until"),
        leases_table.c.retry_at,
    ).where(leases_table.c.project_id == project_id)
