"""Everything that must survive a restart, shared by the web process, the trainer and the CLI.

Knows SQL (through SQLAlchemy) and neither Label Studio nor learning. Times are aware datetimes
that the caller passes in. All methods may be called from any thread and any process; each is one
transaction, except the bulk writes of the mirror, which are several. A database that cannot answer
(full disk, locked for too long) shows as SQLAlchemyError.
"""

from __future__ import annotations

from ml_backend.jobs.database import Database, open_database
from ml_backend.jobs.fine_tunes import FineTunes
from ml_backend.jobs.fronts import Fronts
from ml_backend.jobs.history import History
from ml_backend.jobs.imports import Imports
from ml_backend.jobs.inbox import Inbox
from ml_backend.jobs.job_rows import JobRows
from ml_backend.jobs.mirror import MirrorRows
from ml_backend.jobs.projects import ProjectRows
from ml_backend.jobs.state import (
    Claim,
    ConnectedProject,
    FineTuneRecord,
    FrontRecord,
    Heartbeat,
    ImportedImage,
    ImportProject,
    JobRecord,
    Mirror,
    ModelRecord,
    ProjectCounts,
    RoundRecord,
    TaskImage,
    VersionRecord,
)

__all__ = [
    "Claim",
    "ConnectedProject",
    "FineTuneRecord",
    "FrontRecord",
    "Heartbeat",
    "ImportProject",
    "ImportedImage",
    "JobRecord",
    "Mirror",
    "ModelRecord",
    "ProjectCounts",
    "RoundRecord",
    "Store",
    "TaskImage",
    "VersionRecord",
]


class Store(ProjectRows, Inbox, MirrorRows, History, FineTunes, Fronts, JobRows, Imports):
    """The state of all connected projects."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open the database at an SQLAlchemy URL, creating and migrating it as needed.

        Raises ConfigurationError.
        """
        return cls(open_database(url))

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
