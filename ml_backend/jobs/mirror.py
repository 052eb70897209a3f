"""What we know of Label Studio's tasks and annotations.

Part of the store: see `ml_backend.jobs.store`. Bulk writes go in transactions of some hundred rows,
so that a webhook never waits long for SQLite's one write lock. A task and its annotations always
change together; between two transactions the mirror is true of some tasks earlier than of others,
as a mirror of another server always is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from ml_backend.jobs.database import Database, chunks, upsert
from ml_backend.jobs.state import Mirror, TaskImage
from ml_backend.jobs.tables import annotations_table, tasks_table
from ml_backend.records import Annotation, Task

ANNOTATION_COLUMNS = (
    annotations_table.c.annotation_id,
    annotations_table.c.task_id,
    annotations_table.c.annotator_id,
    annotations_table.c.choice,
    annotations_table.c.was_cancelled,
    annotations_table.c.ground_truth,
)


class MirrorRows:
    """Tasks, annotations, and what became of each image."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def upsert_tasks(self, project_id: int, tasks: Sequence[Task]) -> int:
        """Insert and change tasks; returns how many were new or had another image.

        Another image forgets the content hash and the reason why the old one was unreadable.
        """
        changed = 0
        for chunk in chunks(tasks):
            with self._database.writing() as connection:
                changed += _upsert_tasks(connection, project_id, chunk)
        return changed

    def remove_tasks(self, project_id: int, task_ids: Collection[int]) -> int:
        """Forget tasks and their annotations; returns how many there were."""
        removed = 0
        for chunk in chunks(task_ids):
            with self._database.writing() as connection:
                gone = connection.execute(
                    tasks_table.delete().where(_among(tasks_table, project_id, chunk))
                )
                removed += gone.rowcount
        return removed

    def replace_annotations(
        self, project_id: int, task_ids: Collection[int], annotations: Sequence[Annotation]
    ) -> bool:
        """Make `annotations` all that the tasks `task_ids` have; returns whether that was news.

        Annotations of tasks that the mirror does not know are left out. Raises ValueError for an
        annotation of a task that is not among `task_ids`.
        """
        by_task: dict[int, list[Annotation]] = {task_id: [] for task_id in task_ids}
        for annotation in annotations:
            if annotation.task_id not in by_task:
                raise ValueError(f"{annotation} belongs to none of the tasks that are replaced")
            by_task[annotation.task_id].append(annotation)
        changed = False
        for chunk in chunks(by_task.items()):
            with self._database.writing() as connection:
                changed |= _replace_annotations(connection, project_id, dict(chunk))
        return changed

    def task_ids(self, project_id: int) -> list[int]:
        """The known tasks, in ascending order."""
        query = sa.select(tasks_table.c.task_id).where(tasks_table.c.project_id == project_id)
        with self._database.reading() as connection:
            return list(connection.scalars(query.order_by(tasks_table.c.task_id)))

    def tasks_of_annotations(self, project_id: int, annotation_ids: Collection[int]) -> set[int]:
        """Find the tasks of those of the annotations that are known (a deletion names only ids)."""
        found: set[int] = set()
        with self._database.reading() as connection:
            for chunk in chunks(annotation_ids):
                query = sa.select(annotations_table.c.task_id).where(
                    annotations_table.c.project_id == project_id,
                    annotations_table.c.annotation_id.in_(chunk),
                )
                found.update(connection.scalars(query))
        return found

    def set_content_hashes(self, project_id: int, hashes: Mapping[int, str]) -> None:
        """Note what is in the images of tasks; who has a content hash is not unreadable."""
        self._update_tasks(
            project_id,
            [
                {"of_task": task_id, "content_hash": digest, "unreadable": None, "at": None}
                for task_id, digest in hashes.items()
            ],
            {
                "content_hash": sa.bindparam("content_hash"),
                "unreadable": sa.bindparam("unreadable", type_=sa.Text),
                "unreadable_at": sa.bindparam("at"),
            },
        )

    def set_unreadable(self, project_id: int, reasons: Mapping[int, str], now: datetime) -> None:
        """Note why the images of tasks cannot be used, in words for people."""
        self._update_tasks(
            project_id,
            [
                {"of_task": task_id, "reason": reason, "at": now}
                for task_id, reason in reasons.items()
            ],
            {"unreadable": sa.bindparam("reason"), "unreadable_at": sa.bindparam("at")},
        )

    def forget_unreadable(self, project_id: int, before: datetime) -> int:
        """Give images that were unreadable before a moment another chance; returns how many."""
        statement = (
            tasks_table.update()
            .where(tasks_table.c.project_id == project_id, tasks_table.c.unreadable_at < before)
            .values(unreadable=None, unreadable_at=None)
        )
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount

    def unreadable(self, project_id: int) -> dict[int, str]:
        """The tasks whose image cannot be used, each with its reason."""
        query = (
            sa.select(tasks_table.c.task_id, tasks_table.c.unreadable)
            .where(tasks_table.c.project_id == project_id, tasks_table.c.unreadable.is_not(None))
            .order_by(tasks_table.c.task_id)
        )
        with self._database.reading() as connection:
            return {task_id: str(reason) for task_id, reason in connection.execute(query)}

    def task_image(self, project_id: int, task_id: int) -> TaskImage:
        """What is known of one task's image. Raises LookupError for an unknown task."""
        query = sa.select(
            tasks_table.c.image_uri, tasks_table.c.content_hash, tasks_table.c.unreadable
        ).where(_among(tasks_table, project_id, [task_id]))
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise LookupError(f"project {project_id} has no task {task_id}")
        return TaskImage(**row._mapping)

    def mirror(self, project_id: int) -> Mirror:
        """Read everything known of a project, as of one moment."""
        task_query = (
            sa.select(
                tasks_table.c.task_id,
                tasks_table.c.image_uri,
                tasks_table.c.content_hash,
                tasks_table.c.unreadable,
            )
            .where(tasks_table.c.project_id == project_id)
            .order_by(tasks_table.c.task_id)
        )
        annotation_query = (
            sa.select(*ANNOTATION_COLUMNS)
            .where(annotations_table.c.project_id == project_id)
            .order_by(annotations_table.c.annotation_id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(task_query).all()
            task_ids, uris, hashes, reasons = zip(*rows, strict=True) if rows else ((), (), (), ())
            return Mirror(
                task_ids=np.array(task_ids, dtype=np.int64),
                image_uris=list(uris),
                content_hashes=list(hashes),
                unreadable=list(reasons),
                annotations=[Annotation(*row) for row in connection.execute(annotation_query)],
            )

    def _update_tasks(
        self, project_id: int, rows: Sequence[dict[str, Any]], values: dict[str, Any]
    ) -> None:
        statement = (
            tasks_table.update()
            .where(
                tasks_table.c.project_id == project_id,
                tasks_table.c.task_id == sa.bindparam("of_task"),
            )
            .values(values)
        )
        for chunk in chunks(rows):
            with self._database.writing() as connection:
                connection.execute(statement, chunk)


def _among(table: sa.Table, project_id: int, task_ids: Collection[int]) -> sa.ColumnElement[bool]:
    return (table.c.project_id == project_id) & table.c.task_id.in_(task_ids)


def _upsert_tasks(connection: sa.Connection, project_id: int, wanted: Sequence[Task]) -> int:
    ids = [task.task_id for task in wanted]
    query = sa.select(tasks_table.c.task_id, tasks_table.c.image_uri).where(
        _among(tasks_table, project_id, ids)
    )
    known = {task_id: uri for task_id, uri in connection.execute(query)}
    changed = {task.task_id: task for task in wanted if known.get(task.task_id) != task.image_uri}
    rows = [
        {
            "project_id": project_id,
            "task_id": task.task_id,
            "image_uri": task.image_uri,
            "content_hash": None,
            "unreadable": None,
            "unreadable_at": None,
        }
        for task in changed.values()
    ]
    upsert(connection, tasks_table, rows)
    return len(rows)


def _replace_annotations(
    connection: sa.Connection, project_id: int, by_task: Mapping[int, Sequence[Annotation]]
) -> bool:
    known_tasks = set(
        connection.scalars(
            sa.select(tasks_table.c.task_id).where(_among(tasks_table, project_id, by_task.keys()))
        )
    )
    before = {
        row.annotation_id: Annotation(*row)
        for row in connection.execute(
            sa.select(*ANNOTATION_COLUMNS).where(
                _among(annotations_table, project_id, by_task.keys())
            )
        )
    }
    after = {
        annotation.annotation_id: annotation
        for task_id in by_task.keys() & known_tasks
        for annotation in by_task[task_id]
    }
    if after == before:
        return False
    gone = annotations_table.c.annotation_id.in_(before.keys() - after.keys())
    connection.execute(
        annotations_table.delete().where(annotations_table.c.project_id == project_id, gone)
    )
    changed = [new for key, new in after.items() if before.get(key) != new]
    upsert(connection, annotations_table, [_annotation_row(project_id, new) for new in changed])
    return True


def _annotation_row(project_id: int, annotation: Annotation) -> dict[str, object]:
    return {
        "project_id": project_id,
        "annotation_id": annotation.annotation_id,
        "task_id": annotation.task_id,
        "annotator_id": annotation.annotator_id,
        "choice": annotation.choice,
        "was_cancelled": annotation.was_cancelled,
        "ground_truth": annotation.ground_truth,
    }
