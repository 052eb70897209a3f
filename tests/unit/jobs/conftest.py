"""A store on SQLite and, where its server is installed, the same tests on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml_backend.jobs.store import Store


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Start a PostgreSQL of our own on a socket in a temporary folder; yield its URL."""
    initdb = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    pytest.importorskip("psycopg", reason="the optional driver psycopg is not installed")
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed under /usr/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    as_user = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    data = folder / "data"
    control = [*as_user, str(initdb.with_name("pg_ctl")), "-D", str(data), "-s", "-w"]
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run = {"check": True, "cwd": folder, "timeout": 60, "stdout": subprocess.DEVNULL}
    subprocess.run([*as_user, initdb, "-D", data, "-U", "tester", "-A", "trust"], **run)
    subprocess.run([*control, "-l", folder / "log", "-o", options, "start"], **run)
    try:
        yield f"postgresql://tester@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'state.sqlite3'}"
    url = sa.make_url(request.getfixturevalue("postgresql_server"))
    admin = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS store WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE store"))
    admin.dispose()
    return url.set(database="store").render_as_string(hide_password=False)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An empty store."""
    with closing(Store.open(database_url)) as opened:
        yield opened
