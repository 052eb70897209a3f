"""Rounds, versions, windows and heartbeats are remembered in order."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from ml_backend.jobs.store import Heartbeat, Store

from .builders import LATER, NOW, SOON, project


@pytest.fixture
def connected(store: Store) -> Store:
    """A store with the empty project 1."""
    store.save_project(project(1))
    return store


def test_round_runs_until_it_is_finished(connected: Store) -> None:
    round_id = connected.start_round(1, NOW)
    (running,) = connected.rounds(1)
    report = {"timings_s": {"fit": 0.1}, "labeled": 3, "error": None}
    connected.finish_round(round_id, SOON, state="published", model_version="v1", report=report)
    (finished,) = connected.rounds(1)

    assert (running.state, running.finished_at, running.report) == ("running", None, {})
    assert (finished.round_id, finished.started_at, finished.finished_at) == (round_id, NOW, SOON)
    assert (finished.state, finished.model_version) == ("published", "v1")
    assert finished.report == report


def test_latest_rounds_come_first(connected: Store) -> None:
    started = [connected.start_round(1, NOW) for _ in range(4)]

    assert [each.round_id for each in connected.rounds(1, limit=3)] == started[:0:-1]


def test_unknown_round_and_unknown_state_are_refused(connected: Store) -> None:
    with pytest.raises(LookupError, match="99"):
        connected.finish_round(99, NOW, state="failed", model_version=None, report={})
    with pytest.raises(ValueError, match="done"):
        connected.finish_round(1, NOW, state="done", model_version=None, report={})


def test_version_is_publishing_from_the_start_and_moves_on(connected: Store) -> None:
    connected.add_version(1, "v1", 1, NOW)
    connected.add_version(1, "v2", 2, NOW)
    connected.set_version_state(1, "v1", "superseded", LATER)

    newest, oldest = connected.versions(1)
    assert (newest.version, newest.state, newest.changed_at) == ("v2", "publishing", NOW)
    assert (oldest.version, oldest.state, oldest.changed_at) == ("v1", "superseded", LATER)
    assert (oldest.round_id, oldest.created_at) == (1, NOW)


def test_version_is_added_once_and_only_known_ones_change(connected: Store) -> None:
    connected.add_version(1, "v1", 1, NOW)

    with pytest.raises(IntegrityError):
        connected.add_version(1, "v1", 2, NOW)
    with pytest.raises(LookupError, match="v9"):
        connected.set_version_state(1, "v9", "current", NOW)
    with pytest.raises(ValueError, match="gone"):
        connected.set_version_state(1, "v1", "gone", NOW)


def test_window_keeps_the_published_order_until_its_version_is_deleted(connected: Store) -> None:
    connected.add_version(1, "v1", 1, NOW)
    connected.save_window(1, "v1", [3, 1])
    connected.save_window(1, "v1", [3, 1, 2])

    assert connected.window(1, "v1") == [3, 1, 2]
    assert connected.window(1, "v2") == []
    connected.set_version_state(1, "v1", "deleted", NOW)
    assert connected.window(1, "v1") == []


def test_each_trainer_has_one_heartbeat_and_the_dead_are_forgotten_after_a_day(
    store: Store,
) -> None:
    store.beat("old", NOW, "idle")
    store.beat("new", NOW, "idle")
    store.beat("new", SOON, "project 1")
    assert store.heartbeats() == [
        Heartbeat(owner="new", seen_at=SOON, doing="project 1"),
        Heartbeat(owner="old", seen_at=NOW, doing="idle"),
    ]

    store.beat("new", NOW + timedelta(days=1, seconds=1), "idle")
    assert [each.owner for each in store.heartbeats()] == ["new"]
