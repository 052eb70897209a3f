"""What people want first, against the real thing: a wrong label is put to the front, another
annotator is served it, answers, and it is gone from the front, and closed as it was.

The annotators ask for their next task as their browser does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from ml_backend.steps.holdout import Holdout
from ml_backend.wiring import utc_now
from scripts.label_studio_content import create_project, signed_in, upload_images
from tests.e2e.stack import (
    ANNOTATORS,
    DIGITS,
    LABEL_CONFIG,
    Stack,
    _truth,
    digit_images,
    wait_until,
)
from tests.e2e.truths import settle
from tests.label_studio_server import PASSWORD

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(400)]

TASKS = 40


@dataclass
class Person:
    """An annotator in their own session."""

    http: httpx.Client
    project_id: int

    def next_task(self) -> int:
        """Ask for the next task, as *Label All Tasks* and *Submit* do. It is locked for them."""
        path = f"/api/dm/actions/?id=next_task&project={self.project_id}"
        answer = self.http.post(path, json={})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["id"])

    def answer(self, task_id: int, digit: str) -> None:
        region = {
            "from_name": "digit",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [digit]},
        }
        path = f"/api/tasks/{task_id}/annotations/"
        answer = self.http.post(path, json={"result": [region]})
        assert answer.status_code == 201, answer.text


@pytest.fixture(scope="module")
def project(bare_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A second project of the same Label Studio, backend and trainer."""
    project_id = create_project(bare_stack.http, "Wanted first", LABEL_CONFIG)
    images = digit_images(tmp_path_factory.mktemp("digits"))[-TASKS:]
    upload_images(bare_stack.http, project_id, images)
    made = Stack(
        bare_stack.folder,
        bare_stack.label_studio,
        bare_stack.http,
        project_id,
        _truth(bare_stack.http, project_id),
        bare_stack.environment,
    )
    made.about("connect", "--backend-url", made.backend_url)
    yield made
    with made.store() as store:
        connected = store.get_project(project_id) is not None
    if connected:
        made.about("detach", "--yes")


@pytest.fixture(scope="module")
def people(project: Stack) -> Iterator[tuple[Person, Person]]:
    """Ann, who labels ten tasks, the first of them wrongly, and Ben, who has labeled nothing."""
    url = project.label_studio.url
    with (
        signed_in(url, ANNOTATORS[0], PASSWORD) as one,
        signed_in(url, ANNOTATORS[1], PASSWORD) as other,
    ):
        ann, ben = Person(one, project.project_id), Person(other, project.project_id)
        for number in range(10):
            task_id = ann.next_task()
            right = project.truth[task_id]
            wrong = DIGITS[(int(right) + 1) % 10]
            ann.answer(task_id, right if number else wrong)
        settle(project)
        yield ann, ben


def state_of(project: Stack, task_id: int) -> tuple[int, bool, int]:
    """What Label Studio says of a task: overlap, is_labeled, annotations."""
    task = project.get(f"/api/tasks/{task_id}/")
    return task["overlap"], task["is_labeled"], task["total_annotations"]


def wrong_label(project: Stack) -> int:
    """The task that Ann labeled wrongly."""
    labels = settle(project).labels.values()
    return next(task_id for task_id, choice, _ in labels if choice != project.truth[task_id])


def at_the_front(project: Stack) -> list[int]:
    return [record["task_id"] for record in project.about("front")]


def unlabeled(project: Stack) -> list[int]:
    """The tasks of the published order that are not drawn for measuring, wanted first."""
    with project.store() as store:
        connected = store.get_project(project.project_id)
        mirror = store.mirror(project.project_id)
    assert connected is not None
    holdout = Holdout(connected.audit_share, project.project_id)
    names = dict(zip(mirror.task_ids.tolist(), mirror.content_hashes, strict=True))
    return [each for each in settle(project).served() if not holdout.has(str(names[each]))]


def test_the_trainer_appraises_new_labels_by_itself_when_people_pause(
    project: Stack, people: tuple[Person, Person]
) -> None:
    def appraised() -> bool:
        (standing,) = project.about("status")["projects"]
        found = standing["appraisal"]
        return found is not None and found["counts"]["labeled"] == 10

    wait_until(appraised, "ten labels appraised", 180)
    told = project.about("appraise")
    truth = settle(project)
    assert told["model_version"] == truth.version
    assert [each["task"] for each in told["queue_preview"]] == truth.served()[:24]
    assert told["counts"]["trained_on"] + told["counts"]["held_out"] == 10
    assert told["advice"]["sentence"]
    with project.store() as store:
        jobs = store.jobs(project.project_id, kind="appraise")
    assert {job.state for job in jobs} <= {"done", "waiting", "running"}


def test_a_job_is_done_by_a_process_of_the_trainers(project: Stack) -> None:
    with project.store() as store:
        asked = store.ask_job(project.project_id, "promote", {"model": "pretrained"}, utc_now())
        wait_until(lambda: not store.job(asked).is_open, "the job is done", 180)
        assert (store.job(asked).state, store.job(asked).error) == ("done", None)
        bad = store.ask_job(project.project_id, "promote", {"model": "0009-no-such"}, utc_now())
        wait_until(lambda: not store.job(bad).is_open, "the job failed", 180)
        assert store.job(bad).state == "failed"
        assert "0009-no-such" in str(store.job(bad).error)
    settle(project)


def test_a_wrong_label_goes_to_another_annotator_first_and_closes_when_answered(
    project: Stack, people: tuple[Person, Person]
) -> None:
    ann, ben = people
    suspect = wrong_label(project)
    assert state_of(project, suspect) == (1, True, 1)
    project.about("front", "--task", str(suspect), "--why", "its label looks wrong")
    wait_until(lambda: state_of(project, suspect) == (2, False, 1), "open for one more")
    settle(project)

    told = project.about("why", "--task", str(suspect))
    assert (told["reason"], told["place"]) == ("Put at the front: its label looks wrong", 0)
    assert ben.next_task() == suspect
    assert ann.next_task() != suspect  # whoever labeled it is not served it again

    ben.answer(suspect, project.truth[suspect])
    wait_until(lambda: state_of(project, suspect) == (1, True, 2), "closed as it was")
    assert at_the_front(project) == []


def test_an_unlabeled_task_is_served_first_and_leaves_the_front_when_labeled(
    project: Stack, people: tuple[Person, Person]
) -> None:
    _ann, ben = people
    last = unlabeled(project)[-1]
    project.about("front", "--task", str(last))
    settle(project)
    assert ben.next_task() == last
    ben.answer(last, project.truth[last])
    settle(project)
    assert at_the_front(project) == []


def test_what_looks_alike_can_be_put_first(project: Stack, people: tuple[Person, Person]) -> None:
    _ann, ben = people
    example = unlabeled(project)[0]
    found = project.about("similar", "--to", str(example), "--count", "3", "--to-front")
    assert len(found) == 3
    assert [row["similarity"] for row in found] == sorted(
        (row["similarity"] for row in found), reverse=True
    )
    settle(project)
    wanted = [row["task"] for row in found]
    assert at_the_front(project) == wanted
    assert ben.next_task() == wanted[0]
    project.about("front", "--clear")
    settle(project)
    assert at_the_front(project) == []
    ben.answer(wanted[0], project.truth[wanted[0]])  # he has it open


def test_withdrawing_and_detaching_leave_tasks_as_they_were(
    project: Stack, people: tuple[Person, Person]
) -> None:
    _ann, _ben = people
    labeled = sorted(task_id for task_id in settle(project).labeled)
    first, second, *_ = (each for each in labeled if state_of(project, each)[2] == 1)
    project.about("front", "--task", str(first), "--task", str(second))
    for task_id in (first, second):
        wait_until(lambda each=task_id: state_of(project, each) == (2, False, 1), "open")
    project.about("front", "--task", str(first), "--clear")
    wait_until(lambda: state_of(project, first) == (1, True, 1), "withdrawn")
    assert at_the_front(project) == [second]
    project.about("detach", "--yes")
    assert state_of(project, second) == (1, True, 1)
    served: dict[str, Any] = project.get(project.project_path)
    assert served["sampling"] == "Sequential sampling"
