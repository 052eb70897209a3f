"""What rounds may rely on, of a real Label Studio and of the one that tests use in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from ml_backend.errors import LabelStudioNotFound, PublishMismatch
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.finished_tasks import TaskState
from ml_backend.labelstudio.labeling_config import parse_control
from ml_backend.labelstudio.labeling_queue import LabelingQueue
from ml_backend.labelstudio.prediction_writer import Written
from ml_backend.labelstudio.projects import ProjectReader
from ml_backend.labelstudio.task_importer import NewTask, TaskImporter
from ml_backend.records import QueueEntry, Task
from tests.fake_label_studio import (
    LABEL_CONFIG,
    FakeLabelStudio,
    FakeQueue,
)
from tests.fake_task_importer import FakeTaskImporter
from tests.label_studio_server import TestServer, small_png

CONTROL = parse_control(LABEL_CONFIG)


class RealProject:
    """A project in a running Label Studio, with what people do in it."""

    def __init__(self, server: TestServer) -> None:
        self._server = server
        self.project_id = server.project(label_config=LABEL_CONFIG)
        client = LabelStudioClient(server.url, server.personal_access_token, timeout_s=60)
        self.client, self.close = client, client.close
        self.reader = ProjectReader(client, self.project_id, page_size=3)
        self.queue = LabelingQueue(client, self.project_id, CONTROL)
        self.importer = TaskImporter(client, self.project_id, CONTROL)

    def add_tasks(self, n: int) -> list[int]:
        return self._server.tasks(self.project_id, n)[-n:]

    def annotate(
        self, task_id: int, choice: str | None, *, skip: bool = False, ground_truth: bool = False
    ) -> int:
        made = self._server.annotate(task_id, choice, skip=skip)
        if ground_truth:
            self._call("PATCH", f"/api/annotations/{made}/", {"ground_truth": True})
        return made

    def annotate_as_another(self, task_id: int, choice: str) -> None:
        """Annotate as somebody who is not the admin."""
        with self._server.second_annotator() as other:
            region = {"from_name": "kind", "to_name": "image", "type": "choices"}
            result = [{**region, "value": {"choices": [choice]}}]
            answer = other.post(f"/api/tasks/{task_id}/annotations/", json={"result": result})
            answer.raise_for_status()

    def update_annotation(self, annotation_id: int, choice: str) -> None:
        region = {"from_name": "kind", "to_name": "image", "type": "choices"}
        changed = [{**region, "value": {"choices": [choice]}}]
        self._call("PATCH", f"/api/annotations/{annotation_id}/", {"result": changed})

    def delete_annotation(self, annotation_id: int) -> None:
        self._call("DELETE", f"/api/annotations/{annotation_id}/")

    def delete_task(self, task_id: int) -> None:
        self._call("DELETE", f"/api/tasks/{task_id}/")

    def miscount(self, task_id: int) -> None:
        """Lose a task's counter, as a recount does beside which somebody annotates."""
        file = self._server.process.data_dir / "label_studio.sqlite3"
        with closing(sqlite3.connect(file, timeout=60)) as database, database:
            database.execute("UPDATE task SET total_annotations = 0 WHERE id = ?", (task_id,))

    def now(self) -> datetime:
        return datetime.now(UTC)

    def next_task(self) -> int | None:
        return self._server.next_task(self.project_id)

    def _call(self, method: str, path: str, json: Any = None) -> httpx.Response:
        answer = self._server.http.request(method, path, json=json)
        answer.raise_for_status()
        return answer


class FakeProject(FakeLabelStudio):
    """The same in memory."""

    def __init__(self) -> None:
        super().__init__(page_size=3)
        self.reader = self
        self.queue = FakeQueue(self, CONTROL.classes)
        self.importer = FakeTaskImporter(self)

    def annotate_as_another(self, task_id: int, choice: str) -> None:
        self.annotate(task_id, choice, annotator_id=2)


@pytest.fixture(
    params=[
        "fake",
        pytest.param("label_studio", marks=pytest.mark.label_studio),
        pytest.param("bulk_label_studio", marks=pytest.mark.label_studio),
    ]
)
def project(request: pytest.FixtureRequest) -> Iterator[RealProject | FakeProject]:
    if request.param == "fake":
        yield FakeProject()
        return
    real = RealProject(request.getfixturevalue(request.param))
    yield real
    real.close()


def queue_of(task_ids: list[int], choice: str | None = "cat") -> list[QueueEntry]:
    """Give tasks places in the order of the list."""
    confidence = None if choice is None else 0.5
    return [
        QueueEntry(task_id, place, len(task_ids), choice, confidence)
        for place, task_id in enumerate(task_ids)
    ]


def all_of(pages: Iterator[list[Any]]) -> list[Any]:
    return [each for page in pages for each in page]


# --- reading


def test_every_task_is_listed_once_in_order_of_id(project):
    made = project.add_tasks(7)  # pages have 3

    tasks = all_of(project.reader.tasks(CONTROL))

    assert [task.task_id for task in tasks] == made
    assert all(isinstance(task, Task) and task.image_uri.endswith(".png") for task in tasks)
    assert all_of(project.reader.task_ids()) == made


def test_tasks_above_an_id_are_listed_alone(project):
    made = project.add_tasks(5)

    newer = all_of(project.reader.tasks(CONTROL, after=made[2]))

    assert [task.task_id for task in newer] == made[3:]


def test_a_task_deleted_between_two_pages_makes_no_other_be_missed(project):
    made = project.add_tasks(7)
    pages = project.reader.task_ids()
    seen = next(pages)
    project.delete_task(made[0])

    rest = all_of(pages)

    assert seen + rest == made


def test_annotations_are_read_with_their_choice_skips_and_ground_truth(project):
    first, second, third = project.add_tasks(3)
    a = project.annotate(first, "cat")
    b = project.annotate(second, "hound", ground_truth=True)
    c = project.annotate(third, None, skip=True)

    found = {
        annotation.annotation_id: annotation
        for _, page in project.reader.annotated(CONTROL)
        for annotation in page
    }

    assert found.keys() == {a, b, c}
    assert (found[a].task_id, found[a].choice, found[a].was_cancelled) == (first, "cat", False)
    assert (found[b].choice, found[b].ground_truth) == ("hound", True)
    assert (found[c].choice, found[c].was_cancelled) == (None, True)
    assert found[a].annotator_id is not None


def test_a_task_that_is_skipped_and_annotated_is_read_whole(project):
    (task_id,) = project.add_tasks(1)
    skip = project.annotate(task_id, None, skip=True)
    answer = project.annotate(task_id, "bird")

    for task_ids, found in project.reader.annotated(CONTROL):
        assert task_ids == [task_id]
        assert {each.annotation_id for each in found} == {skip, answer}


def test_a_task_whose_counter_is_lost_is_not_listed_but_read_by_its_id(project):
    counted, miscounted = project.add_tasks(2)
    project.annotate(counted, "cat")
    answer = project.annotate(miscounted, "bird")
    project.miscount(miscounted)

    listed = [task_id for task_ids, _ in project.reader.annotated(CONTROL) for task_id in task_ids]
    assert listed == [counted]
    [(tasks, answers)] = project.reader.tasks_of([miscounted], CONTROL)
    assert [task.task_id for task in tasks] == [miscounted]
    assert [each.annotation_id for each in answers] == [answer]
    assert project.reader.facts().annotation_count == 2


def test_one_task_is_read_with_its_annotations(project):
    made = project.add_tasks(2)
    answer = project.annotate(made[1], "cat")

    found = project.reader.task(made[1], CONTROL)

    assert found is not None
    task, its_annotations = found
    assert task.task_id == made[1]
    assert [each.annotation_id for each in its_annotations] == [answer]


def test_a_task_that_does_not_exist_is_none(project):
    (task_id,) = project.add_tasks(1)

    assert project.reader.task(task_id + 1000, CONTROL) is None


def test_counters_tell_answers_from_skips(project):
    made = project.add_tasks(4)
    project.annotate(made[0], "cat")
    project.annotate(made[0], "bird")
    project.annotate(made[1], None, skip=True)

    facts = project.reader.facts()

    assert (facts.task_count, facts.annotation_count, facts.skip_count) == (4, 2, 1)
    assert facts.finished_count == 1
    assert facts.overlap == 1
    assert "<Choices" in facts.label_config


@pytest.mark.parametrize("change", ["annotate", "update", "delete", "skip", "new task"])
def test_what_changed_since_a_moment_is_found(project, change):
    made = project.add_tasks(5)
    old = project.annotate(made[1], "cat")
    moment = project.now()
    changes = {
        "annotate": (lambda: project.annotate(made[3], "cat"), made[3]),
        "update": (lambda: project.update_annotation(old, "bird"), made[1]),
        "delete": (lambda: project.delete_annotation(old), made[1]),
        "skip": (lambda: project.annotate(made[3], None, skip=True), made[3]),
        "new task": (lambda: project.add_tasks(1), made[4] + 1),
    }
    act, expected = changes[change]
    act()

    touched = [
        task.task_id for tasks, _ in project.reader.changed_since(moment, CONTROL) for task in tasks
    ]

    if change == "new task":
        assert len(touched) == 1
        assert touched[0] > made[4]
    else:
        assert touched == [expected]


def test_nothing_changed_since_the_last_change(project):
    project.add_tasks(2)

    # Label Studio goes on touching new tasks for a while behind its answer.
    later = project.now() + timedelta(minutes=5)
    assert list(project.reader.changed_since(later, CONTROL)) == []


# --- the queue


def test_the_order_served_is_the_order_written(project):
    made = project.add_tasks(5)
    wanted = [made[3], made[0], made[4], made[1], made[2]]

    written = project.queue.write(queue_of(wanted), "v1")
    project.queue.flip("v1")

    assert written == Written(tuple(wanted))
    assert project.queue.served_order(10) == wanted
    assert project.queue.served_order(2) == wanted[:2]
    assert project.next_task() == wanted[0]


def test_a_front_and_a_tail_of_one_version_make_one_queue(project):
    made = project.add_tasks(4)
    entries = queue_of(list(reversed(made)))

    project.queue.write(entries[:2], "v1")
    project.queue.flip("v1")
    project.queue.write(entries[2:], "v1")

    assert project.queue.served_order(10) == list(reversed(made))
    assert project.queue.written("v1") == made


def test_an_order_without_prelabels_is_served_too(project):
    made = project.add_tasks(3)
    wanted = [made[2], made[0], made[1]]

    project.queue.write(queue_of(wanted, choice=None), "v1")
    project.queue.flip("v1")

    assert project.queue.served_order(10) == wanted
    assert project.next_task() == made[2]


def test_what_was_served_before_stays_until_the_switch(project):
    made = project.add_tasks(3)
    project.queue.write(queue_of(made), "v1")
    project.queue.flip("v1")

    project.queue.write(queue_of(list(reversed(made))), "v2")

    assert project.queue.served_order(10) == made
    project.queue.flip("v2")
    assert project.queue.served_order(10) == list(reversed(made))


def test_labeled_tasks_leave_the_queue_and_skipped_ones_stay(project):
    made = project.add_tasks(4)
    project.queue.write(queue_of(made), "v1")
    project.queue.flip("v1")

    project.annotate(made[0], "cat")
    project.annotate(made[1], None, skip=True)

    assert project.queue.served_order(10) == made[1:]
    assert project.queue.unserved() == 3


def test_a_task_deleted_meanwhile_is_reported_and_the_rest_is_written(project):
    made = project.add_tasks(4)
    project.delete_task(made[1])

    written = project.queue.write(queue_of(made), "v1")

    assert written.task_ids == (made[0], made[2], made[3])
    assert written.missing == (made[1],)
    assert project.queue.versions() == {"v1": 3}


def test_a_few_places_in_a_large_project_are_written_too(project):
    # Few rows in a large project take another way into Label Studio than many do.
    made = project.add_tasks(60)
    project.queue.write(queue_of(made), "v0")
    gone, first, second = made[50], made[40], made[3]
    project.delete_task(gone)
    entries = [
        QueueEntry(first, 0, 60, "hound", 0.9),
        QueueEntry(gone, 1, 60, "cat", 0.8),
    ]

    written = project.queue.write(entries, "v1")
    project.queue.write([QueueEntry(second, 2, 60)], "v1")
    project.queue.flip("v1")

    assert written == Written((first,), (gone,))
    assert project.queue.served_order(10) == [first, second]


@pytest.mark.label_studio
@pytest.mark.parametrize(
    ("server", "few_at_once"), [("label_studio", False), ("bulk_label_studio", True)]
)
def test_few_rows_go_at_once_where_the_import_is_efficient(request, server, few_at_once):
    project = RealProject(request.getfixturevalue(server))
    made = project.add_tasks(60)

    assert project.queue.writes_at_once(60)
    project.queue.write(queue_of(made), "v0")

    # What was written makes the ordinary import dearer, at once and for a queue that asks anew.
    anew = LabelingQueue(project.client, project.project_id, CONTROL)
    assert project.queue.writes_at_once(2) == anew.writes_at_once(2) == few_at_once
    assert anew.writes_at_once(60)
    project.close()


def test_nothing_to_write_writes_nothing(project):
    project.add_tasks(1)

    assert project.queue.write([], "v1") == Written(())
    assert project.queue.versions() == {}


def test_a_task_with_two_places_is_refused(project):
    made = project.add_tasks(1)

    with pytest.raises(ValueError, match="more than one place"):
        project.queue.write(queue_of(made + made), "v1")


def test_a_choice_that_the_config_does_not_have_is_refused(project):
    made = project.add_tasks(1)

    with pytest.raises(ValueError, match="wolf"):
        project.queue.write(queue_of(made, choice="wolf"), "v1")


def test_a_version_without_predictions_cannot_be_switched_to(project):
    made = project.add_tasks(2)
    project.queue.write(queue_of(made), "v1")
    project.queue.flip("v1")

    with pytest.raises(PublishMismatch):
        project.queue.flip("v2")

    assert project.queue.settings().model_version == "v1"


def test_settings_are_put_back_as_they_were(project):
    made = project.add_tasks(2)
    found = project.queue.settings()
    project.queue.write(queue_of(made), "v1")
    project.queue.flip("v1")

    assert project.queue.restore(found) == ()

    assert project.queue.settings() == found


def test_a_former_version_that_is_gone_is_reported_when_settings_are_put_back(project):
    made = project.add_tasks(2)
    project.queue.write(queue_of(made), "v1")
    project.queue.flip("v1")
    found = project.queue.settings()
    project.queue.write(queue_of(made), "v2")
    project.queue.flip("v2")
    project.queue.delete("v1")

    problems = project.queue.restore(found)

    assert len(problems) == 1
    assert "'v1'" in problems[0]
    assert project.queue.settings().model_version == ""


def test_superseded_versions_are_deleted_in_slices_or_whole(project):
    made = project.add_tasks(5)
    project.queue.write(queue_of(made), "v1")
    project.queue.write(queue_of(made), "v2")
    project.queue.flip("v2")

    assert project.queue.delete("v1", at_most=2) == 2
    assert project.queue.versions() == {"v1": 3, "v2": 5}
    assert project.queue.delete("v1") == 3
    assert project.queue.versions() == {"v2": 5}
    assert project.queue.settings().model_version == "v2"


def test_the_prediction_of_a_spared_task_stays(project):
    made = project.add_tasks(3)
    project.queue.write(queue_of(made), "v1")
    project.queue.write(queue_of(made), "v2")
    project.queue.flip("v2")

    assert project.queue.delete("v1", at_most=10, spare=[made[1]]) == 2
    assert project.queue.written("v1") == [made[1]]


def test_the_version_that_is_served_is_never_deleted(project):
    made = project.add_tasks(2)
    project.queue.write(queue_of(made), "v1")
    project.queue.flip("v1")

    with pytest.raises(PublishMismatch, match="serve"):
        project.queue.delete("v1")

    assert project.queue.versions() == {"v1": 2}


def test_deleting_a_version_whose_name_is_part_of_another_leaves_the_other(project):
    made = project.add_tasks(3)
    project.queue.write(queue_of(made), "v1")
    project.queue.write(queue_of(made), "v10")

    assert project.queue.delete("v1", at_most=10) == 3
    assert project.queue.versions() == {"v10": 3}


# --- finished tasks that are to be answered once more


def test_a_finished_task_is_served_again_at_its_place_until_somebody_else_answers(project):
    made = project.add_tasks(3)
    project.annotate(made[1], "cat")
    project.queue.write(queue_of([made[1], made[0], made[2]]), "v1")
    project.queue.flip("v1")
    assert project.queue.served_order(9) == [made[0], made[2]]

    project.queue.finished.reopen(made[1], 2)
    assert project.queue.served_order(9) == [made[1], made[0], made[2]]
    assert project.queue.finished.look([made[1]]) == {made[1]: TaskState(2, False, 1, 0)}

    project.annotate_as_another(made[1], "bird")
    assert project.queue.served_order(9) == [made[0], made[2]]
    assert project.queue.finished.look([made[1]]) == {made[1]: TaskState(2, True, 2, 0)}
    project.queue.finished.put_back(made[1], 1)
    assert project.queue.finished.look([made[1]]) == {made[1]: TaskState(1, True, 2, 0)}


def test_an_opened_task_that_nobody_answered_is_closed_as_it_was(project):
    made = project.add_tasks(2)
    project.annotate(made[0], "cat")
    found = project.queue.finished.look(made)
    assert found == {made[0]: TaskState(1, True, 1, 0), made[1]: TaskState(1, False, 0, 0)}

    project.queue.finished.reopen(made[0], 2)
    project.queue.finished.put_back(made[0], 1)

    assert project.queue.finished.look(made) == found


def test_a_task_that_is_gone_is_not_opened_and_needs_no_closing(project):
    made = project.add_tasks(2)
    project.delete_task(made[0])

    assert list(project.queue.finished.look(made)) == [made[1]]
    project.queue.finished.put_back(made[0], 1)
    with pytest.raises(LabelStudioNotFound):
        project.queue.finished.reopen(made[0], 2)


def test_correcting_the_own_answer_leaves_a_task_open(project):
    made = project.add_tasks(1)
    answered = project.annotate(made[0], "cat")
    project.queue.finished.reopen(made[0], 2)

    project.update_annotation(answered, "bird")

    assert project.queue.finished.look(made) == {made[0]: TaskState(2, False, 1, 0)}


# --- importing


def new_tasks(n: int, label: str | None = None) -> list[NewTask]:
    return [NewTask(f"hash-{row}", f"http://images.invalid/{row}.png", label) for row in range(n)]


def test_imported_tasks_have_the_ids_that_were_answered(project):
    (before,) = project.add_tasks(1)

    made = project.importer.send(new_tasks(3))

    tasks = {task.task_id: task.image_uri for task in all_of(project.reader.tasks(CONTROL))}
    assert {digest: tasks[task_id] for digest, task_id in made.items()} == {
        f"hash-{row}": f"http://images.invalid/{row}.png" for row in range(3)
    }
    assert project.importer.newest_task_id() == max(made.values()) > before


def test_imported_tasks_are_found_again_by_the_hash_of_their_image(project):
    project.add_tasks(2)
    made = project.importer.send(new_tasks(3))
    last = max(made.values())

    assert project.importer.find(["hash-0", "hash-2", "hash-9"], after=0) == {
        "hash-0": made["hash-0"],
        "hash-2": made["hash-2"],
    }
    assert project.importer.find([*made], after=last - 1) == {"hash-2": last}


def test_a_label_becomes_an_annotation_that_is_no_ground_truth(project):
    made = project.importer.send([*new_tasks(1, "hound"), NewTask("other", "http://x.invalid/1")])

    [(task_ids, [annotation])] = list(project.reader.annotated(CONTROL))

    assert task_ids == [made["hash-0"]]
    assert (annotation.choice, annotation.ground_truth) == ("hound", False)
    assert project.reader.facts().finished_count == 1


def test_a_project_without_tasks_has_no_newest_and_an_age_that_stays(project):
    assert project.importer.newest_task_id() == 0
    assert project.importer.created_at() == project.importer.created_at()


def test_uploaded_files_have_addresses_and_make_no_task(project):
    files = [(f"{row}.png", small_png((row, 0, 0))) for row in range(2)]

    addresses = project.importer.upload(files)

    assert len(set(addresses)) == 2
    assert all(address.startswith("/data/upload/") for address in addresses)
    assert all(name in each for each, (name, _) in zip(addresses, files, strict=True))
    assert all_of(project.reader.task_ids()) == []
