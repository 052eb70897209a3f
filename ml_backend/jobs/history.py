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
)
from ml_backend.jobs.tables import (
    annotations,
    heartbeats,
    inbox,
    leases,
    rounds,
    tasks,
    versions,
    windows,
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
            inserted = connection.execute(rounds.insert().values(row))
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
        _require_one_of(state, ROUND_STATES)
        statement = (
            rounds.update()
            .where(rounds.c.round_id == round_id)
            .values(finished_at=now, state=state, model_version=model_version, report=dict(report))
        )
        self._change_one(statement, f"round {round_id}")

    def rounds(self, project_id: int, limit: int = 50) -> list[RoundRecord]:
        """The latest rounds of a project, newest first."""
        query = (
            sa.select(rounds)
            .where(rounds.c.project_id == project_id)
            .order_by(rounds.c.round_id.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [RoundRecord(**row._mapping) for row in connection.execute(query)]

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
            connection.execute(versions.insert().values(row))

    def set_version_state(self, project_id: int, version: str, state: str, now: datetime) -> None:
        """Note what became of a version. A deleted one keeps no window.

        Raises LookupError for an unknown version.
        """
        _require_one_of(state, VERSION_STATES)
        statement = (
            versions.update()
            .where(versions.c.project_id == project_id, versions.c.version == version)
            .values(state=state, changed_at=now)
        )
        self._change_one(statement, f"version {version!r} of project {project_id}")
        if state == "deleted":
            with self._database.writing() as connection:
                connection.execute(windows.delete().where(_window_of(project_id, version)))

    def versions(self, project_id: int) -> list[VersionRecord]:
        """All versions that were ever added to a project, newest first."""
        columns = [column for column in versions.c if column.name != "project_id"]
        query = (
            sa.select(*columns)
            .where(versions.c.project_id == project_id)
            .order_by(versions.c.created_at.desc(), versions.c.round_id.desc())
        )
        with self._database.reading() as connection:
            return [VersionRecord(**row._mapping) for row in connection.execute(query)]

    def save_window(self, project_id: int, version: str, task_ids: Sequence[int]) -> None:
        """Remember the order that was published under a version, wanted first."""
        row = {"project_id": project_id, "version": version, "task_ids": [int(i) for i in task_ids]}
        with self._database.writing() as connection:
            upsert(connection, windows, [row])

    def window(self, project_id: int, version: str) -> list[int]:
        """The order that was published under a version; empty when there is none."""
        query = sa.select(windows.c.task_ids).where(_window_of(project_id, version))
        with self._database.reading() as connection:
            return list(connection.scalar(query) or [])

    def beat(self, owner: str, now: datetime, doing: str) -> None:
        """Give a sign of life."""
        with self._database.writing() as connection:
            upsert(connection, heartbeats, [{"owner": owner, "seen_at": now, "doing": doing}])
            connection.execute(
                heartbeats.delete().where(heartbeats.c.seen_at < now - FORGET_HEARTBEATS_AFTER)
            )

    def heartbeats(self) -> list[Heartbeat]:
        """The trainers of the last day, latest sign of life first."""
        query = sa.select(heartbeats).order_by(heartbeats.c.seen_at.desc(), heartbeats.c.owner)
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
    return (windows.c.project_id == project_id) & (windows.c.version == version)


def _counts_query(project_id: int) -> sa.Select[Any]:
    def of(table: sa.Table, what: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]) -> Any:
        query = sa.select(what).select_from(table)
        return query.where(table.c.project_id == project_id, *where).scalar_subquery()

    number = sa.func.count()
    usable = (annotations.c.choice.is_not(None), ~annotations.c.was_cancelled)
    return sa.select(
        of(tasks, number).label("tasks"),
        of(annotations, sa.func.count(annotations.c.task_id.distinct()), *usable).label("labeled"),
        of(tasks, number, tasks.c.unreadable.is_not(None)).label("unreadable"),
        of(annotations, number).label("annotations"),
        of(inbox, number).label("waiting"),
        of(inbox, sa.func.min(inbox.c.received_at)).label("waiting_since"),
        leases.c.owner.label("lease_owner"),
        leases.c.until.label("lease_until"),
        leases.c.retry_at,
    ).where(leases.c.project_id == project_id)


def _require_one_of(state: str, states: frozenset[str]) -> None:
    if state not in states:
        raise ValueError(f"state {state!r}: expected one of {', '.join(sorted(states))}")
