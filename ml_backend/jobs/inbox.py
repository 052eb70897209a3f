"""What has arrived for each project, and which trainer answers it.

Part of the store: see `ml_backend.jobs.store`.

A project is dirty while its inbox has rows. A trainer claims a project for a time (a lease) and
gets all rows up to a number; `finish` deletes exactly those, so whatever arrives during a round
makes one next round. A claim that was overtaken is fenced off by its `lease_id`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ml_backend.errors import LeaseLost, ProjectNotConnected
from ml_backend.jobs.database import Database
from ml_backend.jobs.state import Claim
from ml_backend.jobs.tables import inbox_table, leases_table
from ml_backend.records import WebhookEvent


class Inbox:
    """Events, requests, and the right to answer them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, event: WebhookEvent, now: datetime) -> None:
        """Store an event and make its project dirty, in one short transaction.

        Raises ProjectNotConnected.
        """
        row = {
            "project_id": event.project_id,
            "action": event.action,
            "is_request": False,
            "task_ids": list(event.task_ids),
            "annotation_ids": list(event.annotation_ids),
            "received_at": event.received_at or now,
        }
        with self._database.writing() as connection:
            _lock(connection, event.project_id)
            connection.execute(inbox_table.insert().values(row))

    def mark_dirty(self, project_id: int, reason: str, now: datetime) -> None:
        """Ask for a round without an event. The same reason twice is one request.

        Raises ProjectNotConnected.
        """
        with self._database.writing() as connection:
            request_round(connection, project_id, reason, now)

    def is_dirty(self, project_id: int, *, ignoring: Collection[str] = ()) -> bool:
        """Say whether something waits that no claim holds, so that another round is due.

        Events and requests whose action is in `ignoring` do not count.

        What a trainer has claimed and not finished does not count, also when that trainer died:
        `claim` finds it again when the lease expires.
        """
        newer = sa.exists().where(
            inbox_table.c.project_id == project_id,
            inbox_table.c.inbox_id > leases_table.c.claimed_through,
            inbox_table.c.action.not_in(list(ignoring)),
        )
        with self._database.reading() as connection:
            found = connection.scalar(
                sa.select(newer).where(leases_table.c.project_id == project_id)
            )
        return bool(found)

    def rounds_at_work(self, now: datetime) -> bool:
        """Say whether some trainer holds some project now."""
        held = sa.exists().where(leases_table.c.owner.is_not(None), leases_table.c.until > now)
        with self._database.reading() as connection:
            return bool(connection.scalar(sa.select(held)))

    def claim(
        self,
        owner: str,
        lease_s: float,
        now: datetime,
        project_id: int | None = None,
        *,
        skip_backoff: bool = False,
    ) -> Claim | None:
        """Take the project that has waited longest, or the one named, if it waits and is free.

        Free means: nobody's lease, an expired one, or this owner's. After `abandon` it is not free
        before its time, unless a person asks (`skip_backoff`). None: there is nothing to do.
        """
        query = _claimable(owner, now, skip_backoff=skip_backoff)
        if project_id is not None:
            query = query.where(leases_table.c.project_id == project_id)
        with self._database.reading() as connection:  # trainers ask all the time: lock nothing yet
            if connection.execute(query).first() is None:
                return None
        with self._database.writing() as connection:
            lease = connection.execute(query.with_for_update()).first()
            if lease is None:
                return None
            waiting = connection.execute(
                sa.select(inbox_table)
                .where(inbox_table.c.project_id == lease.project_id)
                .order_by(inbox_table.c.inbox_id)
            ).all()
            if not waiting:  # PostgreSQL: finished by another while we waited for the row
                return None
            claim = _claim_of(lease, owner, waiting)
            connection.execute(
                _of(claim.project_id).values(
                    lease_id=claim.lease_id,
                    owner=owner,
                    until=now + timedelta(seconds=lease_s),
                    claimed_through=claim.through_event_id,
                    retry_at=None,
                )
            )
        return claim

    def hold_off(self, project_id: int, until: datetime) -> None:
        """Keep trainers from claiming a project before a moment: a person waits for it.

        A claim that is held stays; one that skips the backoff takes the project when it is free.
        """
        with self._database.writing() as connection:
            connection.execute(_of(project_id).values(retry_at=until))

    def renew(self, claim: Claim, lease_s: float, now: datetime) -> None:
        """Keep a claim for `lease_s` seconds from now. Raises LeaseLost."""
        with self._database.writing() as connection:
            _require_held(connection, claim)
            connection.execute(_of(claim.project_id).values(until=now + timedelta(seconds=lease_s)))

    def finish(self, claim: Claim, now: datetime) -> None:  # noqa: ARG002 - as its siblings
        """Delete what the claim answered and free the project. Raises LeaseLost.

        What arrived later keeps the project dirty. A lease that ran out and that nobody took over
        still counts: the work was done.
        """
        with self._database.writing() as connection:
            _require_held(connection, claim)
            connection.execute(
                inbox_table.delete().where(
                    inbox_table.c.project_id == claim.project_id,
                    inbox_table.c.inbox_id <= claim.through_event_id,
                )
            )
            connection.execute(
                _of(claim.project_id).values(owner=None, until=None, claimed_through=0)
            )

    def abandon(self, claim: Claim, retry_at: datetime) -> None:
        """Free the project with all its work still to do, not to be claimed before `retry_at`.

        Does nothing where another trainer holds the project by now: the work is theirs.
        """
        with self._database.writing() as connection:
            if not _is_held(connection, claim):
                return
            connection.execute(
                _of(claim.project_id).values(
                    owner=None, until=None, claimed_through=0, retry_at=retry_at
                )
            )


def request_round(connection: sa.Connection, project_id: int, reason: str, now: datetime) -> None:
    """Do what `Inbox.mark_dirty` does, within a transaction. Raises ProjectNotConnected."""
    same = (
        (inbox_table.c.project_id == project_id)
        & inbox_table.c.is_request
        & (inbox_table.c.action == reason)
    )
    row = {
        "project_id": project_id,
        "action": reason,
        "is_request": True,
        "task_ids": [],
        "annotation_ids": [],
        "received_at": now,
    }
    _lock(connection, project_id)
    # The new row has a higher number than any running claim reaches: it is asked for anew.
    connection.execute(inbox_table.delete().where(same))
    connection.execute(inbox_table.insert().values(row))


def _of(project_id: int) -> sa.Update:
    return leases_table.update().where(leases_table.c.project_id == project_id)


def _lock(connection: sa.Connection, project_id: int) -> None:
    """Put the writers of one inbox in line (PostgreSQL; SQLite has one writer anyway).

    Without it a lower inbox_id could become visible after a higher one was claimed and finished,
    and be deleted unseen.
    """
    query = sa.select(leases_table.c.project_id).where(leases_table.c.project_id == project_id)
    if connection.execute(query.with_for_update()).first() is None:
        raise ProjectNotConnected(f"project {project_id} is not connected")


def _claimable(owner: str, now: datetime, *, skip_backoff: bool) -> sa.Select[Any]:
    oldest = (
        sa.select(sa.func.min(inbox_table.c.inbox_id))
        .where(inbox_table.c.project_id == leases_table.c.project_id)
        .correlate(leases_table)
        .scalar_subquery()
    )
    free = (
        leases_table.c.owner.is_(None)
        | (leases_table.c.owner == owner)
        | (leases_table.c.until <= now)
    )
    query = sa.select(leases_table).where(free, oldest.is_not(None)).order_by(oldest).limit(1)
    if not skip_backoff:
        query = query.where(leases_table.c.retry_at.is_(None) | (leases_table.c.retry_at <= now))
    return query


def _claim_of(lease: sa.Row[Any], owner: str, waiting: Sequence[sa.Row[Any]]) -> Claim:
    return Claim(
        project_id=lease.project_id,
        owner=owner,
        through_event_id=waiting[-1].inbox_id,
        events=tuple(_event_of(row) for row in waiting if not row.is_request),
        requested=frozenset(row.action for row in waiting if row.is_request),
        lease_id=lease.lease_id + 1,
    )


def _event_of(row: sa.Row[Any]) -> WebhookEvent:
    return WebhookEvent(
        action=row.action,
        project_id=row.project_id,
        task_ids=tuple(row.task_ids),
        annotation_ids=tuple(row.annotation_ids),
        received_at=row.received_at,
    )


def _is_held(connection: sa.Connection, claim: Claim) -> bool:
    query = sa.select(leases_table.c.owner, leases_table.c.lease_id).where(
        leases_table.c.project_id == claim.project_id
    )
    row = connection.execute(query.with_for_update()).first()
    return row is not None and (row.owner, row.lease_id) == (claim.owner, claim.lease_id)


def _require_held(connection: sa.Connection, claim: Claim) -> None:
    if not _is_held(connection, claim):
        raise LeaseLost(
            f"{claim.owner} no longer holds project {claim.project_id} (lease {claim.lease_id})"
        )
