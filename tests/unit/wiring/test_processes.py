"""What the process of a job does: a model is put in force, or a reason says why not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ml_backend.jobs.store import JobRecord, Store
from ml_backend.settings import Settings, load_settings
from ml_backend.wiring.backbone_shelf import registry_of
from ml_backend.wiring.processes import run_job
from tests.unit.jobs.builders import NOW, SOON, project
from tests.unit.wiring.test_model_desk import save


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(model_dir=tmp_path, device="cpu", label_studio_api_key="x")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with closing(Store.open(settings.sqlalchemy_url)) as opened:
        opened.save_project(project(1, held=True))
        yield opened


def done(settings: Settings, store: Store, kind: str, **arguments: Any) -> JobRecord:
    """Ask for a job and do it in this process."""
    number = store.ask_job(1, kind, arguments, NOW)
    run_job(settings, store, number, threading.Event())
    return store.job(number)


def test_a_promoted_model_is_in_force_and_the_next_round_is_asked_for(
    settings: Settings, store: Store
) -> None:
    name = save(registry_of(settings, 1), 1)
    ended = done(settings, store, "promote", model=name)
    assert (ended.state, ended.error) == ("done", None)
    found = store.get_project(1)
    assert (found.model, found.held) == (name, False)
    assert store.models(1)[0].note == "promoted by hand"
    assert store.claim("a", 10.0, SOON).requested == {"promote"}


def test_a_rollback_goes_to_the_model_before(settings: Settings, store: Store) -> None:
    first, second = (save(registry_of(settings, 1), seed) for seed in (1, 2))
    store.switch_model(1, first, "better", NOW)
    store.switch_model(1, second, "better still", SOON)
    assert done(settings, store, "rollback").state == "done"
    assert store.get_project(1).model == first


def test_a_model_that_is_not_kept_fails_with_its_name(settings: Settings, store: Store) -> None:
    ended = done(settings, store, "promote", model="0009-gone")
    assert ended.state == "failed"
    assert "0009-gone" in ended.error
    assert store.get_project(1).model is None


def test_nothing_to_roll_back_to_and_nothing_to_appraise_are_said(
    settings: Settings, store: Store
) -> None:
    assert "one model only" in done(settings, store, "rollback").error
    assert "no round yet" in done(settings, store, "appraise").error
