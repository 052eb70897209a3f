"""The mirror holds what Label Studio said last, and says what was news."""

import numpy as np
import pytest

from ml_backend.jobs.store import Store
from ml_backend.records import Annotation, Task

from .builders import LATER, NOW, SOON, annotation, project, tasks


@pytest.fixture
def connected(store: Store) -> Store:
    """A store with the empty project 1."""
    store.save_project(project(1))
    return store


def test_mirror_of_an_empty_project_is_empty(connected: Store) -> None:
    mirror = connected.mirror(1)

    assert mirror.task_ids.dtype == np.int64
    assert mirror.task_ids.size == 0
    assert (mirror.image_uris, mirror.content_hashes, mirror.unreadable) == ([], [], [])
    assert mirror.annotations == []


def test_mirror_is_sorted_by_task_and_its_columns_belong_together(connected: Store) -> None:
    connected.upsert_tasks(1, [Task(9, "nine"), Task(2, "two"), Task(5, "")])
    connected.set_content_hashes(1, {2: "h2"})
    connected.set_unreadable(1, {5: "task has no image"}, NOW)
    connected.replace_annotations(1, [9, 2], [annotation(31, 2), annotation(30, 9, None)])
    mirror = connected.mirror(1)

    assert mirror.task_ids.tolist() == [2, 5, 9]
    assert mirror.image_uris == ["two", "", "nine"]
    assert mirror.content_hashes == ["h2", None, None]
    assert mirror.unreadable == [None, "task has no image", None]
    assert mirror.annotations == [annotation(30, 9, None), annotation(31, 2)]


def test_upsert_counts_new_and_changed_tasks_only(connected: Store) -> None:
    assert connected.upsert_tasks(1, tasks(1, 2, 3)) == 3
    assert connected.upsert_tasks(1, tasks(1, 2, 3)) == 0
    assert connected.upsert_tasks(1, [*tasks(1, 2), Task(3, "other"), *tasks(4)]) == 2


def test_another_image_forgets_hash_and_reason_the_same_image_keeps_them(
    connected: Store,
) -> None:
    connected.upsert_tasks(1, tasks(1, 2, 3, 4))
    connected.set_content_hashes(1, {1: "h1", 2: "h2"})
    connected.set_unreadable(1, {3: "gone", 4: "gone"}, NOW)
    connected.upsert_tasks(1, [*tasks(1, 3), Task(2, "new"), Task(4, "new")])
    mirror = connected.mirror(1)

    assert mirror.content_hashes == ["h1", None, None, None]
    assert mirror.unreadable == [None, None, "gone", None]


def test_image_that_could_be_read_is_no_longer_unreadable(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1, 2))
    connected.set_unreadable(1, {1: "timeout", 2: "not an image"}, NOW)
    connected.set_content_hashes(1, {1: "h1"})

    assert connected.unreadable(1) == {2: "not an image"}


def test_old_reasons_are_forgotten_and_newer_ones_kept(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1, 2))
    connected.set_unreadable(1, {1: "timeout"}, NOW)
    connected.set_unreadable(1, {2: "timeout"}, LATER)

    assert connected.forget_unreadable(1, before=SOON) == 1
    assert connected.unreadable(1) == {2: "timeout"}


def test_removed_tasks_take_their_annotations_along(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1, 2))
    connected.replace_annotations(1, [1, 2], [annotation(10, 1), annotation(20, 2)])

    assert connected.remove_tasks(1, [1, 77]) == 1
    assert connected.task_ids(1) == [2]
    assert connected.mirror(1).annotations == [annotation(20, 2)]


def test_replaced_tasks_have_exactly_the_given_annotations(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1, 2, 3))
    before = [annotation(10, 1), annotation(11, 1, "dog"), annotation(20, 2), annotation(30, 3)]
    assert connected.replace_annotations(1, [1, 2, 3], before)
    changed = [annotation(11, 1, "cat"), annotation(12, 1, None)]
    assert connected.replace_annotations(1, [1, 2], changed)

    assert connected.mirror(1).annotations == [*changed, annotation(30, 3)]


def test_replacing_by_the_same_is_no_news(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1, 2))
    same = [annotation(10, 1), Annotation(11, 1, None, None, ground_truth=True)]
    connected.replace_annotations(1, [1, 2], same)

    assert not connected.replace_annotations(1, [2, 1], same[::-1])
    assert not connected.replace_annotations(1, [], [])


@pytest.mark.parametrize(
    "change",
    [
        Annotation(10, 1, 4, "cat"),
        Annotation(10, 1, 3, "dog"),
        Annotation(10, 1, 3, None, was_cancelled=True),
        Annotation(10, 1, 3, "cat", ground_truth=True),
    ],
)
def test_each_field_of_an_annotation_is_news(connected: Store, change: Annotation) -> None:
    connected.upsert_tasks(1, tasks(1))
    connected.replace_annotations(1, [1], [Annotation(10, 1, 3, "cat")])

    assert connected.replace_annotations(1, [1], [change])
    assert connected.mirror(1).annotations == [change]


def test_annotations_of_unknown_tasks_are_left_out(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1))

    assert not connected.replace_annotations(1, [77], [annotation(10, 77)])
    assert connected.mirror(1).annotations == []


def test_annotation_of_a_task_that_is_not_replaced_is_refused(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1, 2))

    with pytest.raises(ValueError, match="task_id=2"):
        connected.replace_annotations(1, [1], [annotation(10, 2)])


def test_tasks_of_deleted_annotations_are_found(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1, 2))
    connected.replace_annotations(1, [1, 2], [annotation(10, 1), annotation(20, 2)])

    assert connected.tasks_of_annotations(1, [20, 99]) == {2}
    assert connected.tasks_of_annotations(1, []) == set()


def test_projects_do_not_share_tasks(connected: Store) -> None:
    connected.save_project(project(2))
    connected.upsert_tasks(1, tasks(1))
    connected.upsert_tasks(2, [Task(1, "of two")])
    connected.set_content_hashes(1, {1: "h"})
    connected.remove_tasks(1, [1])

    assert connected.mirror(2).image_uris == ["of two"]
    assert connected.mirror(2).content_hashes == [None]


def test_counts_tell_labels_from_skips_and_empty_answers(connected: Store) -> None:
    connected.upsert_tasks(1, tasks(1, 2, 3, 4))
    connected.set_unreadable(1, {4: "gone"}, NOW)
    connected.replace_annotations(
        1,
        [1, 2, 3],
        [annotation(10, 1), annotation(11, 1), annotation(20, 2, None), Annotation(30, 3, 3, None)],
    )
    connected.mark_dirty(1, "sync", SOON)
    connected.mark_dirty(1, "reconcile", LATER)
    counts = connected.counts(1)

    assert (counts.tasks, counts.labeled, counts.pool, counts.unreadable) == (4, 1, 3, 1)
    assert (counts.annotations, counts.skips) == (3, 1)
    assert (counts.waiting, counts.waiting_since) == (2, SOON)
    with pytest.raises(LookupError, match="9"):
        connected.counts(9)


@pytest.mark.slow
def test_hundred_thousand_tasks_are_read_back_as_they_were_written(
    connected: Store,
) -> None:
    many = [Task(n, f"/data/upload/1/{n:032x}.png") for n in range(1, 100_001)]
    labels = [annotation(n, n) for n in range(1, 20_001)]
    connected.upsert_tasks(1, many)
    connected.set_content_hashes(1, {task.task_id: f"{task.task_id:064x}" for task in many})
    connected.replace_annotations(1, range(1, 20_001), labels)
    mirror = connected.mirror(1)

    assert mirror.task_ids.tolist() == list(range(1, 100_001))
    assert mirror.content_hashes[-1] == f"{100_000:064x}"
    assert mirror.annotations == labels
