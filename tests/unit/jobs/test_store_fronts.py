"""Tasks that people want first: kept in the asked order, until somebody answers or withdraws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ml_backend.errors import ProjectNotConnected
from ml_backend.jobs.store import Store

from .builders import NOW, SOON, annotation, project, tasks


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store.open(database_url)) as opened:
        opened.save_project(project(1))
        opened.upsert_tasks(1, tasks(*range(1, 10)))
        yield opened


def at_the_front(store: Store) -> list[int]:
    return [record.task_id for record in store.fronts(1)]


def test_tasks_stand_in_the_order_in_which_they_were_asked(store: Store) -> None:
    assert store.ask_front(1, [5, 3], "a hunch", NOW) == 2
    assert store.ask_front(1, [4, 1], "another", SOON) == 2
    assert at_the_front(store) == [5, 3, 4, 1]
    first = store.fronts(1)[0]
    assert (first.why, first.asked_at, first.answers, first.found) == ("a hunch", NOW, {}, None)


def test_asking_again_leaves_a_task_where_it_is(store: Store) -> None:
    store.ask_front(1, [5, 3], "a hunch", NOW)
    assert store.ask_front(1, [3, 7, 7], "again", SOON) == 1
    assert at_the_front(store) == [5, 3, 7]
    assert store.fronts(1)[1].why == "a hunch"


def test_tasks_that_the_project_does_not_have_are_left_out(store: Store) -> None:
    assert store.ask_front(1, [99, 2], "why", NOW) == 1
    assert at_the_front(store) == [2]


def test_asking_makes_the_project_dirty(store: Store) -> None:
    store.ask_front(1, [2], "why", NOW)
    assert store.claim("a", 10.0, NOW).requested == {"front"}


def test_an_unknown_project_is_refused(store: Store) -> None:
    with pytest.raises(ProjectNotConnected, match="9"):
        store.ask_front(9, [1], "why", NOW)


def test_usable_answers_are_noted_so_that_a_new_one_can_be_told(store: Store) -> None:
    given = [annotation(11, 1, "dog"), annotation(12, 1, None), annotation(13, 2, "cat")]
    store.replace_annotations(1, [1, 2], given)
    store.ask_front(1, [1, 3], "suspect", NOW)
    assert [record.answers for record in store.fronts(1)] == [{"11": "dog"}, {}]


def test_a_task_that_changed_nothing_goes_at_once(store: Store) -> None:
    store.ask_front(1, [1, 2], "why", NOW)
    assert store.drop_fronts(1, [1, 9]) == 1
    assert at_the_front(store) == [2]
    assert store.fronts(1, withdrawn=True) == []


def test_what_is_still_to_be_put_back_outlives_its_withdrawal(store: Store) -> None:
    store.ask_front(1, [1, 2], "why", NOW)
    store.note_front(1, 1, {"overlap": 1})
    assert store.drop_fronts(1, [1]) == 1
    assert store.drop_fronts(1, [1]) == 0
    (left,) = store.fronts(1, withdrawn=True)
    assert (left.task_id, left.found) == (1, {"overlap": 1})
    store.forget_fronts(1, [1])
    assert store.fronts(1, withdrawn=True) == []


def test_a_withdrawn_task_that_is_wanted_again_still_knows_what_was_found(store: Store) -> None:
    store.ask_front(1, [1, 2], "why", NOW)
    store.note_front(1, 1, {"overlap": 1})
    store.drop_fronts(1, [1])
    assert store.ask_front(1, [1], "after all", SOON) == 1
    assert at_the_front(store) == [2, 1]
    assert store.fronts(1)[1].found == {"overlap": 1}


def test_the_front_goes_with_the_project(store: Store) -> None:
    store.ask_front(1, [1], "why", NOW)
    store.remove_project(1)
    store.save_project(project(1))
    assert store.fronts(1) == []
