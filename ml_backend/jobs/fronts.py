"""Tasks that people want first, before whatever a strategy would choose.

Part of the store: see `ml_backend.jobs.store`.

An unlabeled task is wanted until it is labeled, a labeled one until somebody answers anew. What
has to be put back in Label Studio keeps its row until that is done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ml_backend.jobs.database import Database, upsert
from ml_backend.jobs.inbox import request_round
from ml_backend.jobs.state import FrontRecord
from ml_backend.jobs.tables import annotations_table, fronts_table, tasks_table

ASKED = "front"  # what a round is asked for by


class Fronts:
    """What people put at the front of a project's queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask_front(self, project_id: int, task_ids: Sequence[int], why: str, now: datetime) -> int:
        """Put tasks at the front, in this order and behind those that are there; ask for a round.

        Returns how many came in: tasks that the project does not have are left out, and those that
        are at the front already stay where they are. Raises ProjectNotConnected.
        """
        with self._database.writing() as connection:
            request_round(connection, project_id, ASKED, now)
            new = _new_ones(connection, project_id, task_ids)
            answers = _answers(connection, project_id, new)
            first = _next_place(connection, project_id)
            rows = [
                {
                    "project_id": project_id,
                    "task_id": task_id,
                    "why": why,
                    "asked_at": now,
                    "place": first + number,
                    "answers": answers[task_id],
                    "withdrawn": False,
                }
                for number, task_id in enumerate(new)
            ]
            upsert(connection, fronts_table, rows)
        return len(rows)

    def fronts(self, project_id: int, *, withdrawn: bool = False) -> list[FrontRecord]:
        """The tasks that are wanted first, soonest first.

        With `withdrawn`, those that are not wanted any more and still to be put back.
        """
        query = (
            sa.select(fronts_table)
            .where(fronts_table.c.project_id == project_id, fronts_table.c.withdrawn == withdrawn)
            .order_by(fronts_table.c.place)
        )
        with self._database.reading() as connection:
            return [FrontRecord(**row._mapping) for row in connection.execute(query)]

    def drop_fronts(self, project_id: int, task_ids: Collection[int]) -> int:
        """Want these tasks first no more; returns how many were.

        The next round puts back what was changed for them: ask for one by `mark_dirty`.
        """
        some = _some(project_id, task_ids)
        with self._database.writing() as connection:
            gone = connection.execute(
                fronts_table.delete().where(some, fronts_table.c.found.is_(None))
            )
            kept = connection.execute(
                fronts_table.update().where(some, ~fronts_table.c.withdrawn).values(withdrawn=True)
            )
        return gone.rowcount + kept.rowcount

    def note_front(self, project_id: int, task_id: int, found: Mapping[str, Any] | None) -> None:
        """Note what is about to be changed in Label Studio for a task, as it was found."""
        value = None if found is None else dict(found)
        with self._database.writing() as connection:
            connection.execute(
                fronts_table.update().where(_some(project_id, [task_id])).values(found=value)
            )

    def forget_fronts(self, project_id: int, task_ids: Collection[int]) -> None:
        """Delete tasks from the front for which nothing is left to put back."""
        with self._database.writing() as connection:
            connection.execute(fronts_table.delete().where(_some(project_id, task_ids)))


def _some(project_id: int, task_ids: Collection[int]) -> sa.ColumnElement[bool]:
    in_project = fronts_table.c.project_id == project_id
    return in_project & fronts_table.c.task_id.in_([int(each) for each in task_ids])


def _new_ones(connection: sa.Connection, project_id: int, task_ids: Sequence[int]) -> list[int]:
    """Return those that the project has and that are not wanted yet, each once, in their order."""
    asked = list(dict.fromkeys(int(each) for each in task_ids))
    there = connection.scalars(
        sa.select(tasks_table.c.task_id).where(
            tasks_table.c.project_id == project_id, tasks_table.c.task_id.in_(asked)
        )
    )
    wanted = connection.scalars(
        sa.select(fronts_table.c.task_id).where(_some(project_id, asked), ~fronts_table.c.withdrawn)
    )
    new = set(there) - set(wanted)
    return [task_id for task_id in asked if task_id in new]


def _answers(
    connection: sa.Connection, project_id: int, task_ids: Collection[int]
) -> dict[int, dict[str, str | None]]:
    table = annotations_table.c
    query = sa.select(table.task_id, table.annotation_id, table.choice).where(
        table.project_id == project_id,
        table.task_id.in_(task_ids),
        ~table.was_cancelled,
    )
    answers: dict[int, dict[str, str | None]] = defaultdict(dict)
    for task_id, annotation_id, choice in connection.execute(query):
        answers[task_id][str(annotation_id)] = choice
    return answers


def _next_place(connection: sa.Connection, project_id: int) -> int:
    query = sa.select(sa.func.max(fronts_table.c.place)).where(
        fronts_table.c.project_id == project_id
    )
    last = connection.scalar(query)
    return 0 if last is None else int(last) + 1
