"""Projects come back as they were saved, and go without a trace."""

import pytest

from ml_backend.errors import ProjectNotConnected
from ml_backend.jobs.store import Store

from .builders import LATER, NOW, annotation, event, project, tasks


def test_project_comes_back_as_it_was_saved(store: Store) -> None:
    store.save_project(project(1))

    assert store.get_project(1) == project(1)
    assert store.get_project(2) is None


def test_projects_are_listed_by_id(store: Store) -> None:
    store.save_project(project(2))
    store.save_project(project(1))

    assert [each.project_id for each in store.projects()] == [1, 2]


def test_saving_again_replaces_the_project_and_keeps_its_mirror_inbox_and_lease(
    store: Store,
) -> None:
    store.save_project(project(1))
    store.upsert_tasks(1, tasks(5))
    store.receive(event(1), NOW)
    claim = store.claim("first", 60, NOW)
    store.save_project(project(1, title="Renamed"))

    saved = store.get_project(1)
    assert saved is not None
    assert saved.title == "Renamed"
    assert store.task_ids(1) == [5]
    assert store.claim("second", 60, NOW) is None
    assert claim is not None
    store.finish(claim, NOW)


def test_update_changes_only_what_is_named(store: Store) -> None:
    store.save_project(project(1))
    control = project().control
    store.update_project(1, current_version="v1", held=True, connected_at=LATER, control=control)

    assert store.get_project(1) == project(
        1, current_version="v1", held=True, connected_at=LATER, control=control
    )


def test_update_of_an_unknown_field_is_a_type_error_and_changes_nothing(store: Store) -> None:
    store.save_project(project(1))

    with pytest.raises(TypeError, match="colour"):
        store.update_project(1, colour="red", held=True)
    with pytest.raises(TypeError, match="project_id"):
        store.update_project(1, project_id=2)
    assert store.get_project(1) == project(1)


def test_update_of_a_project_that_is_not_connected_is_refused(store: Store) -> None:
    with pytest.raises(ProjectNotConnected, match="9"):
        store.update_project(9, held=True)


def test_removed_project_leaves_nothing_and_does_not_touch_others(store: Store) -> None:
    for project_id in (1, 2):
        store.save_project(project(project_id))
        store.upsert_tasks(project_id, tasks(5))
        store.replace_annotations(project_id, [5], [annotation(8, 5)])
        store.receive(event(project_id), NOW)
        store.add_version(project_id, "v", store.start_round(project_id, NOW), NOW)
        store.save_window(project_id, "v", [5])
    store.remove_project(1)

    assert [each.project_id for each in store.projects()] == [2]
    assert store.mirror(1).task_ids.size == 0
    assert store.mirror(1).annotations == []
    assert store.rounds(1) == []
    assert store.versions(1) == []
    assert store.window(1, "v") == []
    assert not store.is_dirty(1)
    assert store.mirror(2).annotations == [annotation(8, 5)]
    assert store.is_dirty(2)


def test_project_connected_again_starts_afresh(store: Store) -> None:
    store.save_project(project(1))
    store.receive(event(1), NOW)
    store.remove_project(1)
    store.save_project(project(1))

    assert not store.is_dirty(1)
    assert store.claim("me", 60, NOW) is None


def test_naive_datetimes_are_refused(store: Store) -> None:
    with pytest.raises(Exception, match="aware"):
        store.save_project(project(1, connected_at=NOW.replace(tzinfo=None)))
