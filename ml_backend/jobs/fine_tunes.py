"""Fine-tunes that were asked for, who works on them, and what became of their models.

Part of the store: see `ml_backend.jobs.store`.

A fine-tune is open until it ends as promoted, refused, cancelled or failed; at most one of a
project is open. Whoever works on one holds a lease, so that another process goes on where a killed
one stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ml_backend.errors import LeaseLost, ProjectNotConnected
from ml_backend.jobs.database import Database, upsert
from ml_backend.jobs.state import (
    FINE_TUNE_STATES,
    MODEL_STATES,
    OPEN_FINE_TUNES,
    FineTuneRecord,
    ModelRecord,
    require_one_of,
)
from ml_backend.jobs.tables import fine_tunes_table, models_table, projects_table

TABLE = fine_tunes_table.c


class FineTunes:
    """The slow loop's jobs, and the models that came out of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask_fine_tune(self, project_id: int, reason: str, now: datetime) -> FineTuneRecord:
        """Ask for a fine-tune; where one is open already, that one is meant.

        Raises ProjectNotConnected.
        """
        row = {
            "project_id": project_id,
            "reason": reason,
            "state": "waiting",
            "asked_at": now,
            "attempts": 0,
            "cancel": False,
            "progress": {},
            "outcome": {},
        }
        with self._database.writing() as connection:
            lock_project(connection, project_id)
            open_one = connection.execute(_open().where(TABLE.project_id == project_id)).first()
            if open_one is None:
                connection.execute(fine_tunes_table.insert().values(row))
                open_one = connection.execute(_open().where(TABLE.project_id == project_id)).one()
        return FineTuneRecord(**open_one._mapping)

    def waiting_fine_tune(self, now: datetime) -> FineTuneRecord | None:
        """The open fine-tune that has waited longest and that nobody works on; None: none."""
        query = _open().where(TABLE.until.is_(None) | (TABLE.until <= now))
        with self._database.reading() as connection:
            row = connection.execute(query.order_by(TABLE.fine_tune_id).limit(1)).first()
        return None if row is None else FineTuneRecord(**row._mapping)

    def claim_fine_tune(
        self, fine_tune_id: int, owner: str, lease_s: float, now: datetime
    ) -> FineTuneRecord:
        """Take an open fine-tune that nobody works on. Raises LeaseLost where it cannot be had."""
        free = TABLE.until.is_(None) | (TABLE.until <= now) | (TABLE.owner == owner)
        statement = _one(fine_tune_id).where(free, TABLE.state.in_(OPEN_FINE_TUNES))
        started_at = self.fine_tune(fine_tune_id).started_at or now
        taken = statement.values(
            owner=owner,
            until=now + timedelta(seconds=lease_s),
            attempts=TABLE.attempts + 1,
            started_at=started_at,
        )
        self._change(taken, f"fine-tune {fine_tune_id} is not free")
        return self.fine_tune(fine_tune_id)

    def renew_fine_tune(
        self,
        fine_tune_id: int,
        owner: str,
        lease_s: float,
        now: datetime,
        *,
        state: str,
        progress: Mapping[str, Any],
    ) -> FineTuneRecord:
        """Keep a fine-tune, and note how far it is. Raises LeaseLost.

        The answer's `cancel` tells whether somebody asked to stop it.
        """
        require_one_of(state, FINE_TUNE_STATES)
        statement = _held(fine_tune_id, owner).values(
            until=now + timedelta(seconds=lease_s), state=state, progress=dict(progress)
        )
        self._change(statement, f"{owner} no longer holds fine-tune {fine_tune_id}")
        return self.fine_tune(fine_tune_id)

    def release_fine_tune(self, fine_tune_id: int, owner: str, *, failed: bool = False) -> None:
        """Give a fine-tune back to be gone on with. Nothing where it is another's by now.

        Only one that failed counts as an attempt, as does a process that dies.
        """
        given_back: dict[str, Any] = {"owner": None, "until": None}
        if not failed:
            given_back["attempts"] = TABLE.attempts - 1
        with self._database.writing() as connection:
            connection.execute(_held(fine_tune_id, owner).values(given_back))

    def finish_fine_tune(
        self, fine_tune_id: int, now: datetime, *, state: str, outcome: Mapping[str, Any]
    ) -> None:
        """Note how a fine-tune ended; `outcome` must be JSON. Raises LeaseLost: it had ended."""
        require_one_of(state, FINE_TUNE_STATES - OPEN_FINE_TUNES)
        statement = (
            _one(fine_tune_id)
            .where(TABLE.state.in_(OPEN_FINE_TUNES))
            .values(state=state, outcome=dict(outcome), finished_at=now, owner=None, until=None)
        )
        self._change(statement, f"fine-tune {fine_tune_id} has ended already")

    def cancel_fine_tune(self, project_id: int, now: datetime) -> FineTuneRecord | None:
        """Stop the open fine-tune of a project; return it, or None where there is none.

        One that a process works on ends when that process next looks; one that waits ends now.
        """
        with self._database.writing() as connection:
            row = connection.execute(_open().where(TABLE.project_id == project_id)).first()
            if row is None:
                return None
            connection.execute(_one(row.fine_tune_id).values(cancel=True))
            nobody = TABLE.until.is_(None) | (TABLE.until <= now)
            connection.execute(
                _one(row.fine_tune_id).where(nobody).values(state="cancelled", finished_at=now)
            )
        return self.fine_tune(row.fine_tune_id)

    def fine_tune(self, fine_tune_id: int) -> FineTuneRecord:
        """One fine-tune. Raises LookupError for an unknown number."""
        query = sa.select(fine_tunes_table).where(TABLE.fine_tune_id == fine_tune_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise LookupError(f"there is no fine-tune {fine_tune_id}")
        return FineTuneRecord(**row._mapping)

    def fine_tunes(self, project_id: int, limit: int = 20) -> list[FineTuneRecord]:
        """The latest fine-tunes of a project, newest first."""
        query = (
            sa.select(fine_tunes_table)
            .where(TABLE.project_id == project_id)
            .order_by(TABLE.fine_tune_id.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [FineTuneRecord(**row._mapping) for row in connection.execute(query)]

    # --- models

    def note_model(self, project_id: int, model: str, state: str, note: str, now: datetime) -> None:
        """Note what became of a model."""
        require_one_of(state, MODEL_STATES)
        with self._database.writing() as connection:
            upsert(connection, models_table, [_model_row(project_id, model, state, note, now)])

    def switch_model(
        self,
        project_id: int,
        model: str | None,
        note: str,
        now: datetime,
        *,
        former: str = "retired",
    ) -> None:
        """Put another model in force (None: the configured backbone), in one step.

        `former` is what the one before becomes. Raises ProjectNotConnected.
        """
        require_one_of(former, MODEL_STATES)
        with self._database.writing() as connection:
            before = lock_project(connection, project_id).model
            rows = [] if before in (None, model) else [(before, former)]
            rows += [] if model is None else [(model, "champion")]
            for name, state in rows:
                row = _model_row(project_id, name, state, note, now)
                upsert(connection, models_table, [row])
            connection.execute(
                projects_table.update()
                .where(projects_table.c.project_id == project_id)
                .values(model=model)
            )

    def models(self, project_id: int) -> list[ModelRecord]:
        """What became of each model of a project, by name."""
        columns = [column for column in models_table.c if column.name != "project_id"]
        query = sa.select(*columns).where(models_table.c.project_id == project_id)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(models_table.c.model))
            return [ModelRecord(**row._mapping) for row in rows]

    def _change(self, statement: sa.Update, otherwise: str) -> None:
        with self._database.writing() as connection:
            if connection.execute(statement).rowcount == 0:
                raise LeaseLost(otherwise)


def _one(fine_tune_id: int) -> sa.Update:
    return fine_tunes_table.update().where(TABLE.fine_tune_id == fine_tune_id)


def _held(fine_tune_id: int, owner: str) -> sa.Update:
    return _one(fine_tune_id).where(TABLE.owner == owner, TABLE.state.in_(OPEN_FINE_TUNES))


def _open() -> sa.Select[Any]:
    return sa.select(fine_tunes_table).where(TABLE.state.in_(OPEN_FINE_TUNES))


def lock_project(connection: sa.Connection, project_id: int) -> sa.Row[Any]:
    """Put those in line who ask for something of a project. Raises ProjectNotConnected."""
    query = sa.select(projects_table).where(projects_table.c.project_id == project_id)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        raise ProjectNotConnected(f"project {project_id} is not connected")
    return row


def _model_row(
    project_id: int, model: str, state: str, note: str, now: datetime
) -> dict[str, object]:
    return {
        "project_id": project_id,
        "model": model,
        "state": state,
        "note": note,
        "changed_at": now,
    }
