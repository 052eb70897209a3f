"""When networks are fine-tuned, and what becomes of the processes that do it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ml_backend.jobs.held_fine_tune import held_fine_tune
from ml_backend.jobs.slow_loop import MAX_ATTEMPTS, FineTunePolicy, SlowLoop
from ml_backend.jobs.store import Store

from .builders import LATER, NOW, event, project


@dataclass
class FakeProcess:
    code: int | None = None
    terminated: bool = False

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.terminated = True


@dataclass
class Started:
    """What was started, in order."""

    numbers: list[int] = field(default_factory=list)
    processes: list[FakeProcess] = field(default_factory=list)

    def __call__(self, fine_tune_id: int) -> FakeProcess:
        self.numbers.append(fine_tune_id)
        self.processes.append(FakeProcess())
        return self.processes[-1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(f"sqlite:///{tmp_path / 'state.sqlite3'}")) as opened:
        opened.save_project(project(1))
        yield opened


@pytest.fixture
def started() -> Started:
    return Started()


@pytest.fixture
def slow(store: Store, started: Started, monkeypatch: pytest.MonkeyPatch) -> SlowLoop:
    monkeypatch.setattr("ml_backend.jobs.background.LOOK_EVERY_S", 0.0)
    policy = FineTunePolicy(by_itself=True, after_labels=100, after_growth=0.5)
    return SlowLoop(store, started, policy, lambda: NOW)


@pytest.mark.parametrize(
    ("trained_on", "last", "due"),
    [(99, 0, False), (100, 0, True), (299, 200, False), (300, 200, True), (850, 600, False)],
)
def test_enough_is_new_in_number_and_in_share(trained_on: int, last: int, due: bool) -> None:
    policy = FineTunePolicy(by_itself=True, after_labels=100, after_growth=0.5)
    assert policy.is_due(trained_on, last) is due


def test_nothing_is_due_by_itself_where_it_waits_to_be_asked() -> None:
    policy = FineTunePolicy(by_itself=False, after_labels=1, after_growth=0.0)
    assert not policy.is_due(10_000, 0)


def test_a_round_with_enough_new_labels_asks_once(slow: SlowLoop, store: Store) -> None:
    slow.after_round(1, {"trained_on": 99})
    assert store.fine_tunes(1) == []
    slow.after_round(1, {"trained_on": 100})
    slow.after_round(1, {"trained_on": 101})
    assert [record.reason for record in store.fine_tunes(1)] == ["enough new labels"]


def test_what_the_last_one_was_trained_on_counts_whatever_came_of_it(
    slow: SlowLoop, store: Store
) -> None:
    number = store.ask_fine_tune(1, "command", NOW).fine_tune_id
    store.finish_fine_tune(number, NOW, state="failed", outcome={"trained_on": 200})
    slow.after_round(1, {"trained_on": 250})
    assert len(store.fine_tunes(1)) == 1
    slow.after_round(1, {"trained_on": 300})
    assert len(store.fine_tunes(1)) == 2


def test_the_button_asks_and_an_annotation_does_not(slow: SlowLoop, store: Store) -> None:
    slow.heard(1, (event(),))
    assert store.fine_tunes(1) == []
    slow.heard(1, (event(action="START_TRAINING"),))
    assert store.fine_tunes(1)[0].reason == "Start Training in Label Studio"


def test_one_process_at_a_time_is_started(slow: SlowLoop, store: Store, started: Started) -> None:
    store.save_project(project(2))
    numbers = [store.ask_fine_tune(number, "news", NOW).fine_tune_id for number in (1, 2)]
    slow.tend()
    slow.tend()
    assert started.numbers == numbers[:1]
    store.finish_fine_tune(numbers[0], NOW, state="refused", outcome={})
    started.processes[0].code = 0
    slow.tend()
    assert started.numbers == numbers


def test_one_whose_process_died_is_started_again_and_given_up_in_the_end(
    slow: SlowLoop, store: Store, started: Started
) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    for _ in range(MAX_ATTEMPTS):
        slow.tend()
        store.claim_fine_tune(number, "dies", 0.0, NOW)
        store.renew_fine_tune(
            number, "dies", 0.0, NOW, state="training", progress={"trained_on": 120}
        )
        started.processes[-1].code = -9
    slow.tend()
    assert started.numbers == [number] * MAX_ATTEMPTS
    ended = store.fine_tunes(1)[0]
    assert (ended.state, ended.outcome["trained_on"]) == ("failed", 120)
    assert "3 times" in ended.outcome["error"]


def test_one_that_another_machine_works_on_is_left_alone(
    slow: SlowLoop, store: Store, started: Started
) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    store.claim_fine_tune(number, "elsewhere", 60.0, NOW)
    slow.tend()
    assert started.numbers == []
    slow.now = lambda: LATER
    slow.tend()
    assert started.numbers == [number]


def test_stopping_asks_the_process_to_end(slow: SlowLoop, store: Store, started: Started) -> None:
    store.ask_fine_tune(1, "news", NOW)
    slow.tend()
    slow.stop()
    assert started.processes[0].terminated


def test_an_error_counts_as_an_attempt_and_is_told_in_the_end(
    slow: SlowLoop, store: Store, started: Started
) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    for _ in range(MAX_ATTEMPTS):
        with (
            pytest.raises(MemoryError),
            held_fine_tune(store, number, "worker", lambda: NOW, threading.Event()),
        ):
            raise MemoryError("the GPU is full")
    slow.tend()
    assert started.numbers == []
    ended = store.fine_tunes(1)[0]
    assert (ended.state, ended.outcome["error"]) == ("failed", "MemoryError: the GPU is full")


def test_a_process_that_is_asked_to_end_does_not_count(store: Store) -> None:
    number = store.ask_fine_tune(1, "news", NOW).fine_tune_id
    stopping = threading.Event()
    with held_fine_tune(store, number, "worker", lambda: NOW, stopping) as held:
        stopping.set()
        assert held.interrupted()
    assert (store.fine_tune(number).attempts, store.fine_tune(number).owner) == (0, None)
