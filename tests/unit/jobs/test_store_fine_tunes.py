"""Fine-tunes in the store: one at a time, kept by a lease, ended once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from ml_backend.errors import LeaseLost, ProjectNotConnected
from ml_backend.jobs.store import Store

from .builders import LATER, NOW, SOON, project


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store.open(database_url)) as opened:
        opened.save_project(project(1))
        yield opened


def test_asking_twice_means_one(store: Store) -> None:
    first = store.ask_fine_tune(1, "news", NOW)
    again = store.ask_fine_tune(1, "button", SOON)
    assert again == first
    assert (first.state, first.reason, first.attempts) == ("waiting", "news", 0)


def test_asking_for_an_unknown_project_is_refused(store: Store) -> None:
    with pytest.raises(ProjectNotConnected, match="9"):
        store.ask_fine_tune(9, "news", NOW)


def test_a_claimed_one_waits_for_nobody_until_its_lease_ends(store: Store) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    claimed = store.claim_fine_tune(number, "a", 10.0, NOW)
    assert (claimed.owner, claimed.attempts, claimed.started_at) == ("a", 1, NOW)
    assert store.waiting_fine_tune(SOON) is None
    with pytest.raises(LeaseLost, match="not free"):
        store.claim_fine_tune(number, "b", 10.0, SOON)
    late = NOW + timedelta(seconds=11)
    assert store.waiting_fine_tune(late).fine_tune_id == number
    assert store.claim_fine_tune(number, "b", 10.0, late).attempts == 2


def test_who_lost_it_is_told_with_the_next_sign_of_life(store: Store) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    store.claim_fine_tune(number, "a", 10.0, NOW)
    store.claim_fine_tune(number, "b", 10.0, LATER)
    with pytest.raises(LeaseLost, match="a no longer holds"):
        store.renew_fine_tune(number, "a", 10.0, LATER, state="training", progress={})


def test_signs_of_life_carry_progress_and_bring_the_wish_to_stop(store: Store) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    store.claim_fine_tune(number, "a", 10.0, NOW)
    told = store.renew_fine_tune(number, "a", 10.0, SOON, state="judging", progress={"epoch": 3})
    assert (told.state, told.progress, told.cancel) == ("judging", {"epoch": 3}, False)
    store.cancel_fine_tune(1, SOON)
    told = store.renew_fine_tune(number, "a", 10.0, SOON, state="judging", progress={})
    assert told.cancel


def test_giving_one_back_is_no_attempt(store: Store) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    store.claim_fine_tune(number, "a", 10.0, NOW)
    store.release_fine_tune(number, "a")
    waiting = store.waiting_fine_tune(NOW)
    assert (waiting.fine_tune_id, waiting.attempts) == (number, 0)


def test_one_that_waits_is_cancelled_at_once(store: Store) -> None:
    store.ask_fine_tune(1, "news", NOW)
    cancelled = store.cancel_fine_tune(1, SOON)
    assert (cancelled.state, cancelled.finished_at) == ("cancelled", SOON)
    assert store.cancel_fine_tune(1, SOON) is None


def test_it_ends_once(store: Store) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    store.finish_fine_tune(number, SOON, state="refused", outcome={"model": "0002-x"})
    ended = store.fine_tunes(1)[0]
    assert (ended.state, ended.outcome, ended.is_open) == ("refused", {"model": "0002-x"}, False)
    with pytest.raises(LeaseLost, match="ended already"):
        store.finish_fine_tune(number, SOON, state="promoted", outcome={})
    assert store.ask_fine_tune(1, "news", SOON).fine_tune_id == number + 1


def test_an_unknown_one_is_named(store: Store) -> None:
    with pytest.raises(LookupError, match="77"):
        store.fine_tune(77)


def test_switching_retires_the_model_before(store: Store) -> None:
    store.switch_model(1, "0002-a", "better", NOW)
    store.switch_model(1, "0003-b", "better still", SOON)
    assert store.get_project(1).model == "0003-b"
    states = {record.model: (record.state, record.note) for record in store.models(1)}
    assert states == {
        "0002-a": ("retired", "better still"),
        "0003-b": ("champion", "better still"),
    }


def test_going_back_to_the_configured_backbone_leaves_no_champion(store: Store) -> None:
    store.switch_model(1, "0002-a", "better", NOW)
    store.switch_model(1, None, "cannot be read", SOON, former="damaged")
    assert store.get_project(1).model is None
    assert [record.state for record in store.models(1)] == ["damaged"]


def test_all_of_it_goes_with_the_project(store: Store) -> None:
    store.ask_fine_tune(1, "news", NOW)
    store.note_model(1, "0001-a", "refused", "worse", NOW)
    store.remove_project(1)
    store.save_project(project(1))
    assert (store.fine_tunes(1), store.models(1)) == ([], [])


def test_rounds_at_work_are_seen(store: Store) -> None:
    assert not store.rounds_at_work(NOW)
    store.mark_dirty(1, "sync", NOW)
    store.claim("a", 10.0, NOW)
    assert store.rounds_at_work(SOON)
    assert not store.rounds_at_work(LATER)  # its lease has run out
