"""Jobs: started one at a time, once more where the process died, failed with a reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from ml_backend.errors import UnknownModel
from ml_backend.jobs.held_job import held_job
from ml_backend.jobs.job_loop import MAX_ATTEMPTS, JobLoop
from ml_backend.jobs.store import Store

from .builders import NOW, project


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
    numbers: list[int] = field(default_factory=list)
    processes: list[FakeProcess] = field(default_factory=list)

    def __call__(self, number: int) -> FakeProcess:
        self.numbers.append(number)
        self.processes.append(FakeProcess())
        return self.processes[-1]


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with closing(Store.open(f"sqlite:///{tmp_path / 'state.sqlite3'}")) as opened:
        opened.save_project(project(1))
        yield opened


@pytest.fixture
def started() -> Started:
    return Started()


@pytest.fixture
def jobs(store: Store, started: Started, monkeypatch: pytest.MonkeyPatch) -> JobLoop:
    monkeypatch.setattr("ml_backend.jobs.background.LOOK_EVERY_S", 0.0)
    return JobLoop(store, started, lambda: NOW)


def work(store: Store, number: int, error: BaseException | None = None) -> None:
    """Do a job as its process does."""
    with held_job(store, number, "worker", lambda: NOW, threading.Event()) as held:
        held.tell("embedding images", 3, 9)
        if error:
            raise error


def test_one_process_at_a_time(jobs: JobLoop, store: Store, started: Started) -> None:
    first = store.ask_job(1, "promote", {"model": "0002-a"}, NOW)
    second = store.ask_job(1, "appraise", {}, NOW)
    jobs.tend()
    jobs.tend()
    assert started.numbers == [first]
    work(store, first)
    started.processes[0].code = 0
    jobs.tend()
    assert started.numbers == [first, second]
    assert store.job(first).state == "done"


def test_a_dead_process_is_given_one_more_try_and_then_a_reason(
    jobs: JobLoop, store: Store, started: Started
) -> None:
    number = store.ask_job(1, "promote", {}, NOW)
    for _ in range(MAX_ATTEMPTS):
        jobs.tend()
        store.start_job(number, "dies", 0.0, NOW)
        started.processes[-1].code = -9
    jobs.tend()
    assert started.numbers == [number] * MAX_ATTEMPTS == [number] * 2
    ended = store.job(number)
    assert (ended.state, ended.error) == (
        "failed",
        "its process died 2 times; the trainer's log says how",
    )


def test_what_was_foreseen_fails_it_at_once_with_its_reason(store: Store) -> None:
    number = store.ask_job(1, "promote", {}, NOW)
    work(store, number, UnknownModel("there is no model 0009"))
    ended = store.job(number)
    assert (ended.state, ended.error) == ("failed", "there is no model 0009")


def test_what_was_not_foreseen_is_tried_again_and_told_in_the_end(
    jobs: JobLoop, store: Store, started: Started
) -> None:
    number = store.ask_job(1, "promote", {}, NOW)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(MemoryError):
            work(store, number, MemoryError("the GPU is full"))
    jobs.tend()
    assert started.numbers == []
    assert store.job(number).error == "MemoryError: the GPU is full"


def test_a_process_that_is_to_end_gives_its_job_back(store: Store) -> None:
    number = store.ask_job(1, "promote", {}, NOW)
    stopping = threading.Event()
    stopping.set()
    with held_job(store, number, "worker", lambda: NOW, stopping) as held:
        held.tell("embedding images", 3, 9)
        pytest.fail("it went on")  # pragma: no cover
    found = store.job(number)
    assert (found.state, found.attempts, found.owner) == ("waiting", 0, None)


def test_stopping_asks_the_process_to_end(jobs: JobLoop, store: Store, started: Started) -> None:
    store.ask_job(1, "promote", {}, NOW)
    jobs.tend()
    jobs.stop()
    assert started.processes[0].terminated


def round_of(store: Store, labels_hash: str) -> None:
    number = store.start_round(1, NOW)
    report = {"labels_hash": labels_hash}
    store.finish_round(number, NOW, state="published", model_version="al-1", report=report)


def test_an_appraisal_is_asked_for_once_a_set_of_labels(jobs: JobLoop, store: Store) -> None:
    jobs.appraise(1)
    assert store.jobs(1) == []  # no round yet
    round_of(store, "a")
    jobs.appraise(1)
    (asked,) = store.jobs(1)
    store.finish_job(asked.job_id, NOW)
    jobs.appraise(1)
    round_of(store, "a")
    jobs.appraise(1)
    assert len(store.jobs(1)) == 1
    round_of(store, "b")
    jobs.appraise(1)
    assert [each.arguments for each in store.jobs(1)] == [{"labels": "b"}, {"labels": "a"}]


def test_appraisals_can_be_left_to_the_command(jobs: JobLoop, store: Store) -> None:
    jobs.appraises = False
    round_of(store, "a")
    jobs.appraise(1)
    assert store.jobs(1) == []
