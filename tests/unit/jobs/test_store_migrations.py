"""Opening a store brings its database up to date, whoever comes first."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ml_backend.errors import ConfigurationError
from ml_backend.jobs.store import Store
from ml_backend.jobs.tables import metadata

from .builders import project


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def open_and_save(url: str, project_id: int) -> int:
    with closing(Store.open(url)) as store:
        store.save_project(project(project_id))
    return project_id


def test_migrated_schema_is_the_one_that_the_code_expects(database_url: str) -> None:
    Store.open(database_url).close()
    engine = engine_of(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def test_opening_again_keeps_everything(database_url: str) -> None:
    open_and_save(database_url, 1)
    open_and_save(database_url, 2)

    with closing(Store.open(database_url)) as store:
        assert store.projects() == [project(1), project(2)]


def test_processes_that_open_an_empty_database_together_all_find_it_ready(
    database_url: str,
) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        list(pool.map(open_and_save, [database_url] * 8, range(1, 9)))

    with closing(Store.open(database_url)) as store:
        assert len(store.projects()) == 8


def test_database_of_a_newer_release_is_refused_with_its_name(database_url: str) -> None:
    Store.open(database_url).close()
    engine = engine_of(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(ConfigurationError, match="9999"):
        Store.open(database_url)


def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    content = b"not a database, but quite long enough for one" * 50
    path = tmp_path / "state.sqlite3"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"state\.sqlite3"):
        Store.open(f"sqlite:///{path}")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://me:hush@host/db", "nonsense", ""]
)
def test_url_that_cannot_work_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="database_url") as caught:
        Store.open(url)
    assert "hush" not in str(caught.value)


def test_server_that_does_not_answer_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg", reason="the optional driver psycopg is not installed")
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1") as caught:
        Store.open("postgresql://me:hush@127.0.0.1:1/db")
    assert "hush" not in str(caught.value)
