"""The connected projects.

Part of the store: see `ml_backend.jobs.store`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa

from ml_backend.errors import ProjectNotConnected
from ml_backend.jobs.database import Database, chunks, upsert
from ml_backend.jobs.state import ConnectedProject
from ml_backend.jobs.tables import leases_table, projects_table, tasks_table
from ml_backend.records import ChoiceControl, ProjectSettings

FIELDS = frozenset(field.name for field in dataclasses.fields(ConnectedProject))


class ProjectRows:
    """What `connect` knows of each project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save_project(self, project: ConnectedProject) -> None:
        """Insert the project, or replace what is known of it; its mirror and inbox stay."""
        with self._database.writing() as connection:
            upsert(connection, projects_table, [_to_row(_fields_of(project))])
            upsert(connection, leases_table, [{"project_id": project.project_id}])

    def get_project(self, project_id: int) -> ConnectedProject | None:
        """Look one project up; None when it is not connected."""
        query = sa.select(projects_table).where(projects_table.c.project_id == project_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _from_row(row)

    def projects(self) -> list[ConnectedProject]:
        """All connected projects, by id."""
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(projects_table).order_by(projects_table.c.project_id)
            )
            return [_from_row(row) for row in rows]

    def update_project(self, project_id: int, **changes: object) -> None:
        """Change fields of a project by name.

        Raises TypeError for an unknown name, ProjectNotConnected for an unknown project.
        """
        unknown = sorted(changes.keys() - (FIELDS - {"project_id"}))
        if unknown:
            raise TypeError(f"a project has no changeable field {', '.join(unknown)}")
        statement = projects_table.update().where(projects_table.c.project_id == project_id)
        with self._database.writing() as connection:
            changed = connection.execute(statement.values(_to_row(changes)))
            if changed.rowcount == 0:
                raise ProjectNotConnected(f"project {project_id} is not connected")

    def remove_project(self, project_id: int) -> None:
        """Forget everything about a project. Unknown projects are forgotten already."""
        self._remove_tasks_in_slices(project_id)
        with self._database.writing() as connection:
            connection.execute(
                projects_table.delete().where(projects_table.c.project_id == project_id)
            )

    def _remove_tasks_in_slices(self, project_id: int) -> None:
        # One cascading delete of 100,000 tasks would keep webhooks of other projects waiting.
        with self._database.reading() as connection:
            ids = connection.scalars(
                sa.select(tasks_table.c.task_id).where(tasks_table.c.project_id == project_id)
            ).all()
        for chunk in chunks(ids):
            with self._database.writing() as connection:
                connection.execute(
                    tasks_table.delete().where(
                        tasks_table.c.project_id == project_id, tasks_table.c.task_id.in_(chunk)
                    )
                )


def _fields_of(project: ConnectedProject) -> dict[str, object]:
    return {name: getattr(project, name) for name in FIELDS}


def _to_row(fields: dict[str, object]) -> dict[str, object]:
    """Dataclasses become JSON objects; everything else is a column's value already."""
    return {
        name: dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
        for name, value in fields.items()
    }


def _from_row(row: sa.Row[Any]) -> ConnectedProject:
    fields: dict[str, Any] = dict(row._mapping)
    control = fields.pop("control")
    control["classes"] = tuple(control["classes"])  # JSON has no tuples
    return ConnectedProject(
        **fields
        | {"control": ChoiceControl(**control), "found": ProjectSettings(**fields["found"])}
    )
