"""What pages and commands ask of the trainer, who works on it, and how it ended.

Part of the store: see `ml_backend.jobs.store`.

A job is open until it is done or has failed; at most one of a kind is open in a project. Whoever
works on one holds a lease: where the process dies, another may take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ml_backend.errors import LeaseLost
from ml_backend.jobs.database import Database
from ml_backend.jobs.fine_tunes import lock_project
from ml_backend.jobs.state import JOB_KINDS, OPEN_JOBS, JobRecord, require_one_of
from ml_backend.jobs.tables import jobs_table

TABLE = jobs_table.c
KEPT_ENDED = 20  # of each kind and project


class JobRows:
    """The trainer's jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask_job(
        self, project_id: int, kind: str, arguments: Mapping[str, Any], now: datetime
    ) -> int:
        """Ask for a job and return its number; where one of the kind is open, that one is meant.

        Raises ProjectNotConnected, and ValueError for an unknown kind.
        """
        require_one_of(kind, JOB_KINDS)
        row = {
            "project_id": project_id,
            "kind": kind,
            "arguments": dict(arguments),
            "state": "waiting",
            "progress": {},
            "asked_at": now,
            "attempts": 0,
        }
        of_kind = sa.select(TABLE.job_id).where(TABLE.project_id == project_id, TABLE.kind == kind)
        with self._database.writing() as connection:
            lock_project(connection, project_id)
            open_one = connection.scalar(of_kind.where(TABLE.state.in_(OPEN_JOBS)))
            if open_one is not None:
                return int(open_one)
            old = of_kind.order_by(TABLE.job_id.desc()).offset(KEPT_ENDED - 1)
            numbers = connection.scalars(old).all()
            connection.execute(jobs_table.delete().where(TABLE.job_id.in_(numbers)))
            key = connection.execute(jobs_table.insert().values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def job(self, job_id: int) -> JobRecord:
        """One job. Raises LookupError for an unknown number."""
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(jobs_table).where(TABLE.job_id == job_id)
            ).one_or_none()
        if row is None:
            raise LookupError(f"there is no job {job_id}")
        return JobRecord(**row._mapping)

    def jobs(self, project_id: int, limit: int = 20, kind: str | None = None) -> list[JobRecord]:
        """The latest jobs of a project, newest first; of one kind, where that is named."""
        query = sa.select(jobs_table).where(TABLE.project_id == project_id)
        if kind is not None:
            query = query.where(TABLE.kind == kind)
        query = query.order_by(TABLE.job_id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [JobRecord(**row._mapping) for row in connection.execute(query)]

    def waiting_job(self, now: datetime) -> JobRecord | None:
        """The open job that has waited longest and that nobody works on; None: none.

        What people wait for comes before appraisals, which nobody asked for.
        """
        free = TABLE.until.is_(None) | (TABLE.until <= now)
        query = sa.select(jobs_table).where(free, TABLE.state.in_(OPEN_JOBS))
        query = query.order_by(TABLE.kind == "appraise", TABLE.job_id).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else JobRecord(**row._mapping)

    def start_job(self, job_id: int, owner: str, lease_s: float, now: datetime) -> JobRecord:
        """Take an open job that nobody works on. Raises LeaseLost where it cannot be had."""
        free = TABLE.until.is_(None) | (TABLE.until <= now)
        started_at = self.job(job_id).started_at or now
        statement = (
            jobs_table.update()
            .where(TABLE.job_id == job_id, free, TABLE.state.in_(OPEN_JOBS))
            .values(
                state="running",
                owner=owner,
                until=now + timedelta(seconds=lease_s),
                attempts=TABLE.attempts + 1,
                started_at=started_at,
            )
        )
        self._change_job(statement, f"job {job_id} is not free")
        return self.job(job_id)

    def renew_job(
        self, job_id: int, owner: str, lease_s: float, now: datetime, progress: Mapping[str, Any]
    ) -> None:
        """Keep a job, and note how far it is. Raises LeaseLost."""
        statement = _held(job_id, owner).values(
            until=now + timedelta(seconds=lease_s), progress=dict(progress)
        )
        self._change_job(statement, f"{owner} no longer holds job {job_id}")

    def release_job(self, job_id: int, owner: str, *, failed: bool = False) -> None:
        """Give a job back to be begun again. Only one that failed counts as an attempt."""
        given_back: dict[str, Any] = {"state": "waiting", "owner": None, "until": None}
        if not failed:
            given_back["attempts"] = TABLE.attempts - 1
        with self._database.writing() as connection:
            connection.execute(_held(job_id, owner).values(given_back))

    def finish_job(self, job_id: int, now: datetime, error: str | None = None) -> None:
        """Note that a job is done, or why it failed. Raises LeaseLost: it had ended."""
        statement = (
            jobs_table.update()
            .where(TABLE.job_id == job_id, TABLE.state.in_(OPEN_JOBS))
            .values(
                state="done" if error is None else "failed",
                error=error,
                finished_at=now,
                owner=None,
                until=None,
            )
        )
        self._change_job(statement, f"job {job_id} has ended already")

    def _change_job(self, statement: sa.Update, otherwise: str) -> None:
        with self._database.writing() as connection:
            if connection.execute(statement).rowcount == 0:
                raise LeaseLost(otherwise)


def _held(job_id: int, owner: str) -> sa.Update:
    running = (TABLE.owner == owner) & (TABLE.state == "running")
    return jobs_table.update().where(TABLE.job_id == job_id, running)
