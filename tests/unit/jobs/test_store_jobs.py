"""Jobs in the store: one of a kind at a time, kept by a lease, ended once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from ml_backend.errors import LeaseLost, ProjectNotConnected
from ml_backend.jobs.job_rows import KEPT_ENDED
from ml_backend.jobs.store import Store

from .builders import LATER, NOW, SOON, project


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store.open(database_url)) as opened:
        opened.save_project(project(1))
        yield opened


def test_asking_twice_means_one_of_a_kind(store: Store) -> None:
    first = store.ask_job(1, "promote", {"model": "0002-a"}, NOW)
    assert store.ask_job(1, "promote", {"model": "0003-b"}, SOON) == first
    other = store.ask_job(1, "rollback", {}, SOON)
    assert [record.job_id for record in store.jobs(1)] == [other, first]
    found = store.job(first)
    assert (found.state, found.arguments, found.asked_at) == ("waiting", {"model": "0002-a"}, NOW)


def test_an_unknown_kind_and_an_unknown_project_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="dance"):
        store.ask_job(1, "dance", {}, NOW)
    with pytest.raises(ProjectNotConnected, match="9"):
        store.ask_job(9, "promote", {}, NOW)
    with pytest.raises(LookupError, match="77"):
        store.job(77)


def test_what_people_wait_for_comes_before_an_appraisal(store: Store) -> None:
    store.ask_job(1, "appraise", {}, NOW)
    wanted = store.ask_job(1, "promote", {}, SOON)
    assert store.waiting_job(SOON).job_id == wanted


def test_one_at_work_is_nobody_elses_until_its_lease_ends(store: Store) -> None:
    number = store.ask_job(1, "promote", {}, NOW)
    started = store.start_job(number, "a", 10.0, NOW)
    assert (started.state, started.owner, started.attempts) == ("running", "a", 1)
    assert store.waiting_job(SOON) is None
    with pytest.raises(LeaseLost, match="not free"):
        store.start_job(number, "b", 10.0, SOON)
    late = NOW + timedelta(seconds=11)
    assert store.waiting_job(late).job_id == number
    again = store.start_job(number, "b", 10.0, late)
    assert (again.attempts, again.started_at) == (2, NOW)
    with pytest.raises(LeaseLost, match="a no longer holds"):
        store.renew_job(number, "a", 10.0, late, {})


def test_signs_of_life_carry_progress(store: Store) -> None:
    number = store.ask_job(1, "promote", {}, NOW)
    store.start_job(number, "a", 10.0, NOW)
    store.renew_job(number, "a", 10.0, SOON, {"done": 3, "of": 9})
    assert store.job(number).progress == {"done": 3, "of": 9}
    assert store.waiting_job(NOW + timedelta(seconds=11)) is None


def test_giving_one_back_is_no_attempt(store: Store) -> None:
    number = store.ask_job(1, "appraise", {}, NOW)
    store.start_job(number, "a", 10.0, NOW)
    store.release_job(number, "a")
    found = store.waiting_job(NOW)
    assert (found.job_id, found.state, found.attempts) == (number, "waiting", 0)


def test_it_ends_once(store: Store) -> None:
    number = store.ask_job(1, "promote", {}, NOW)
    store.finish_job(number, SOON, error="no such model")
    ended = store.job(number)
    assert (ended.state, ended.error, ended.finished_at) == ("failed", "no such model", SOON)
    with pytest.raises(LeaseLost, match="ended already"):
        store.finish_job(number, SOON)
    assert store.waiting_job(LATER) is None
    assert store.ask_job(1, "promote", {}, SOON) != number


def test_jobs_that_ended_long_ago_are_forgotten(store: Store) -> None:
    for _ in range(KEPT_ENDED + 5):
        store.finish_job(store.ask_job(1, "appraise", {}, NOW), NOW)
    assert len(store.jobs(1, limit=99, kind="appraise")) == KEPT_ENDED


def test_jobs_go_with_the_project(store: Store) -> None:
    store.ask_job(1, "promote", {}, NOW)
    store.remove_project(1)
    store.save_project(project(1))
    assert store.jobs(1) == []
