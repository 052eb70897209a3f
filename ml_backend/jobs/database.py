"""Opening the database, its transactions and its migrations.

Knows what SQLite and PostgreSQL need to be shared by several processes; knows no table.

SQLite runs in WAL mode: readers never wait, and one process writes at a time. `synchronous=NORMAL`
syncs at checkpoints and not at every commit: a killed process loses nothing, a power cut can lose
the last moments but never consistency. That is the right trade here, because a webhook is a hint
that the periodic reconcile repairs, and it keeps a disk's flush out of the annotator's Submit.
"""

from __future__ import annotations

import sqlite3
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ml_backend.errors import ConfigurationError

T = TypeVar("T")

LOCK_WAIT_S = 20.0  # longest wait for SQLite's one write lock
LOCK_POLL_S = 0.001  # SQLite's own busy handler sleeps up to 100 ms and loses to a busy writer
ROWS_PER_TRANSACTION = 500  # a bulk write holds the lock for some 5 ms at a time
PAUSE_S = 0.003  # between two such transactions, so that a waiting webhook gets in
MIGRATION_LOCK = 0x416C4C61  # any constant: the key of PostgreSQL's advisory lock


class Database:
    """An engine with two kinds of transactions: `reading` sees one snapshot, `writing` commits."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        # What nobody closes is closed with the last reference to it, and not at the process's end:
        # a process that was forked off must leave its parent's connections alone.
        weakref.finalize(self, engine.dispose).atexit = False
        self._writer = engine.execution_options(writes=True)
        self._reader = engine
        if engine.dialect.name == "postgresql":
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Run queries on one consistent snapshot."""
        with self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Run one write transaction. On SQLite it holds the write lock from its first moment."""
        with self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Open (and where needed create) the database at an SQLAlchemy URL, and migrate it.

    Raises ConfigurationError when that cannot be done; the message never holds the password.
    """
    try:
        parsed = sa.make_url(url)
        engine = _create_engine(parsed)
    except (SQLAlchemyError, ImportError) as error:
        raise ConfigurationError(f"database_url cannot be used: {error}") from None
    try:
        if engine.dialect.name == "sqlite":
            _switch_to_wal(engine)
        _migrate(engine)
    except (SQLAlchemyError, sqlite3.Error, CommandError, OSError) as error:
        engine.dispose()
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigurationError(f"The database {shown} cannot be opened: {error}") from error
    return Database(engine)


def _create_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        return _create_sqlite_engine(url)
    if url.get_backend_name() == "postgresql":
        if url.drivername == "postgresql":  # SQLAlchemy's default driver depends on its version
            url = url.set(drivername="postgresql+psycopg")
        return sa.create_engine(url, pool_pre_ping=True, pool_size=20)
    raise ConfigurationError(
        f"database_url names {url.get_backend_name()!r}; expected sqlite:///... or postgresql://..."
    )


def _create_sqlite_engine(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("database_url must name a file: web and trainer share it")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, pool_size=20)
    sa.event.listen(engine, "connect", _prepare_sqlite_connection)
    sa.event.listen(engine, "begin", _begin_sqlite_transaction)
    return engine


def _prepare_sqlite_connection(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; _begin_... does
    connection.execute(f"PRAGMA busy_timeout = {int(LOCK_WAIT_S * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin_sqlite_transaction(connection: sa.Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if connection.get_execution_options().get("writes"):
        _take_write_lock(driver)
    else:
        driver.execute("BEGIN")


def _take_write_lock(driver: sqlite3.Connection) -> None:
    """Begin a write transaction, asking for the lock every millisecond.

    A read transaction that turns into a write can fail at once where another one wrote meanwhile;
    one that begins as a write only ever waits.
    """
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        give_up_at = time.monotonic() + LOCK_WAIT_S
        while not _begin_immediate(driver, last_try=time.monotonic() >= give_up_at):
            time.sleep(LOCK_POLL_S)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(LOCK_WAIT_S * 1000)}")


def _begin_immediate(driver: sqlite3.Connection, *, last_try: bool) -> bool:
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if last_try or not _is_busy(error):
            raise OperationalError("BEGIN IMMEDIATE", None, error) from error
        return False
    return True


def _is_busy(error: sqlite3.OperationalError) -> bool:
    # The low byte is the primary code; the rest says more (SQLITE_BUSY_RECOVERY, ...).
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _switch_to_wal(engine: sa.Engine) -> None:
    """Turn WAL on (it stays on in the file); the switch itself does not honour the busy timeout."""
    give_up_at = time.monotonic() + LOCK_WAIT_S
    connection = engine.raw_connection()
    try:
        while not _try_wal(connection, last_try=time.monotonic() >= give_up_at):
            time.sleep(0.01)
    finally:
        connection.close()


def _try_wal(connection: Any, *, last_try: bool) -> bool:
    try:
        connection.driver_connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if last_try or not _is_busy(error):
            raise OperationalError("PRAGMA journal_mode = WAL", None, error) from error
        return False
    return True


def _migrate(engine: sa.Engine) -> None:
    """Bring the schema up to date, in one transaction behind a lock of the database itself."""
    package = files("ml_backend.jobs") / "migrations"
    with as_file(package) as folder, engine.execution_options(writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def upsert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, object]]
) -> None:
    """Insert rows; where the primary key is taken, overwrite the columns that the rows name."""
    if not rows:
        return
    module = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = module.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    if changed:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    connection.execute(statement, list(rows))


def chunks(items: Iterable[T], size: int = ROWS_PER_TRANSACTION) -> Iterator[list[T]]:
    """Cut a bulk write into transactions, leaving a gap between two for whoever waits."""
    iterator = iter(items)
    chunk = list(islice(iterator, size))
    while chunk:
        yield chunk
        chunk = list(islice(iterator, size))
        if chunk:
            time.sleep(PAUSE_S)
