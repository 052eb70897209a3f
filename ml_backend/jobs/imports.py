"""What was imported from data sources, image by image.

Part of the store: see `ml_backend.jobs.store`. An image is known by its content, so that none is
imported twice; it is noted before it is sent, so that a crash at any moment can be put right.
Nothing here grows in memory with the number of images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from ml_backend.jobs.database import Database, chunks, upsert
from ml_backend.jobs.state import ImportedImage, ImportProject
from ml_backend.jobs.tables import import_projects_table, imports_table

COLUMNS = (
    imports_table.c.content_hash,
    imports_table.c.source_key,
    imports_table.c.label,
    imports_table.c.split,
    imports_table.c.sent_at,
    imports_table.c.task_id,
)
PAGE = 1000


class Imports:
    """The images that were imported, and those that Label Studio has not answered for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def import_project(self, project_id: int) -> ImportProject | None:
        """Read which project a number meant at its first import; None before that."""
        query = sa.select(import_projects_table).where(
            import_projects_table.c.project_id == project_id
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else ImportProject(**row)

    def import_projects(self) -> list[ImportProject]:
        """All projects that were imported into, in order of their number."""
        query = sa.select(import_projects_table).order_by(import_projects_table.c.project_id)
        with self._database.reading() as connection:
            return [ImportProject(**row) for row in connection.execute(query).mappings()]

    def begin_imports(self, project: ImportProject) -> None:
        """Note a project before its first import; forgets what another of that number had."""
        gone = imports_table.delete().where(imports_table.c.project_id == project.project_id)
        row = {
            "project_id": project.project_id,
            "label_studio_url": project.label_studio_url,
            "created_at": project.created_at,
            "first_task_after": project.first_task_after,
        }
        with self._database.writing() as connection:
            connection.execute(gone)
            upsert(connection, import_projects_table, [row])

    def known_imports(self, project_id: int, hashes: Collection[str]) -> dict[str, ImportedImage]:
        """Find those of the images that were imported or sent before, by content hash."""
        known = {}
        with self._database.reading() as connection:
            for start in range(0, len(hashes), PAGE):
                some = list(hashes)[start : start + PAGE]
                query = sa.select(*COLUMNS).where(
                    imports_table.c.project_id == project_id,
                    imports_table.c.content_hash.in_(some),
                )
                known.update({row.content_hash: _image(row) for row in connection.execute(query)})
        return known

    def note_imports(self, project_id: int, images: Sequence[ImportedImage]) -> None:
        """Note images that are about to be sent, all or none.

        Raises sqlalchemy's IntegrityError for one that is known.
        """
        rows = [
            {
                "project_id": project_id,
                "content_hash": image.content_hash,
                "source_key": image.source_key,
                "label": image.label,
                "split": image.split,
                "sent_at": image.sent_at,
                "task_id": image.task_id,
            }
            for image in images
        ]
        if rows:
            with self._database.writing() as connection:
                connection.execute(imports_table.insert(), rows)

    def confirm_imports(self, project_id: int, task_ids: Mapping[str, int]) -> None:
        """Note which task Label Studio made of each image, by content hash."""
        statement = (
            imports_table.update()
            .where(
                imports_table.c.project_id == project_id,
                imports_table.c.content_hash == sa.bindparam("of_hash"),
            )
            .values(task_id=sa.bindparam("of_task"))
        )
        for chunk in chunks(task_ids.items()):
            rows = [{"of_hash": digest, "of_task": task_id} for digest, task_id in chunk]
            with self._database.writing() as connection:
                connection.execute(statement, rows)

    def forget_imports(self, project_id: int, hashes: Collection[str]) -> None:
        """Forget images of which Label Studio has no task after all."""
        for chunk in chunks(hashes):
            gone = imports_table.delete().where(
                imports_table.c.project_id == project_id,
                imports_table.c.content_hash.in_(chunk),
                imports_table.c.task_id.is_(None),
            )
            with self._database.writing() as connection:
                connection.execute(gone)

    def unanswered_imports(self, project_id: int) -> list[ImportedImage]:
        """The images that were sent and never answered for: at most a batch, after a crash."""
        query = sa.select(*COLUMNS).where(
            imports_table.c.project_id == project_id, imports_table.c.task_id.is_(None)
        )
        with self._database.reading() as connection:
            return [_image(row) for row in connection.execute(query)]

    def newest_import(self, project_id: int) -> int | None:
        """The highest task id among the imported images."""
        query = sa.select(sa.func.max(imports_table.c.task_id)).where(
            imports_table.c.project_id == project_id
        )
        with self._database.reading() as connection:
            newest: int | None = connection.scalar(query)
            return newest

    def imported(self, project_id: int) -> Iterator[ImportedImage]:
        """Stream the images that have a task, in order of task id."""
        after = 0
        while True:
            query = (
                sa.select(*COLUMNS)
                .where(imports_table.c.project_id == project_id, imports_table.c.task_id > after)
                .order_by(imports_table.c.task_id)
                .limit(PAGE)
            )
            with self._database.reading() as connection:
                page = [_image(row) for row in connection.execute(query)]
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].task_id or after

    def imports_of_tasks(
        self, project_id: int, task_ids: Collection[int]
    ) -> dict[int, ImportedImage]:
        """Find the imported images behind tasks, with their keys and what the source knew."""
        found: dict[int, ImportedImage] = {}
        with self._database.reading() as connection:
            for start in range(0, len(task_ids), PAGE):
                query = sa.select(*COLUMNS).where(
                    imports_table.c.project_id == project_id,
                    imports_table.c.task_id.in_(list(task_ids)[start : start + PAGE]),
                )
                for row in connection.execute(query):
                    found[row.task_id] = _image(row)
        return found

    def import_count(self, project_id: int) -> int:
        """Say how many images have a task."""
        query = sa.select(sa.func.count(imports_table.c.task_id)).where(
            imports_table.c.project_id == project_id
        )
        with self._database.reading() as connection:
            return connection.scalar(query) or 0


def _image(row: Any) -> ImportedImage:
    return ImportedImage(**row._mapping)
