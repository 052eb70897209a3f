"""`simulate --from-project` against a real Label Studio: a project that is connected, and one that
is only read."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.label_studio_content import create_project, import_tasks, signed_in, upload_images
from tests.e2e.processes import Answer
from tests.e2e.stack import ANNOTATORS, LABEL_CONFIG, Stack, digit_images
from tests.e2e.truths import look, settle
from tests.label_studio_server import LEGACY_TOKEN, PASSWORD

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(300)]

QUICK = ("--seeds", "2", "--batch", "10", "--labels", "20", "--strategy", "margin", "--jobs", "1")
LABELED = 36  # of the connected project, at least
USABLE, UNTOUCHED = 40, 5  # tasks of the project that is only read


@dataclass(frozen=True)
class Project:
    """A project that was never connected, and its tasks with a story."""

    project_id: int
    disputed: int
    broken: int


@pytest.fixture(scope="module")
def project(bare_stack: Stack) -> Project:
    """A project with 40 usable labels, and one task of each kind that has none."""
    stack, images = bare_stack, digit_images(bare_stack.folder / "elsewhere")
    project_id = create_project(stack.http, "Elsewhere", LABEL_CONFIG)
    upload_images(stack.http, project_id, images[200 : 200 + USABLE + UNTOUCHED + 2])
    import_tasks(stack.http, project_id, [{"data": {"image": "http://images.invalid/1.png"}}])
    *tasks, broken = _task_ids(stack, project_id)
    for task_id in tasks[: USABLE + 1]:
        _annotate(stack, task_id, task_id % 3)
    disputed, skipped = tasks[USABLE], tasks[USABLE + 1]
    _dispute(stack, disputed, disputed % 3 + 1)
    _annotate(stack, broken, 1)
    stack.annotate(skipped, "1", skip=True)
    return Project(project_id, disputed, broken)


def test_a_connected_project_is_replayed_from_what_the_loop_has_kept(
    stack: Stack, tmp_path: Path
) -> None:
    label_some(stack)
    truth = settle(stack)
    answer = simulate(stack, stack.project_id, tmp_path)
    told = answer.json

    labeled = len(truth.labeled)
    assert told["data"]["images"] + told["data"]["copies"] == labeled
    assert told["data"]["source"] == f"project {stack.project_id}, Handwritten digits"
    notes = " ".join(told["notes"])
    assert f"Of the project's {len(truth.tasks)} tasks {labeled} have a label" in notes
    assert "that nobody has annotated" in notes
    assert "chosen by the queue" in notes
    assert f"{audit_labels(stack)} are audit labels, drawn at random" in notes
    assert "Trust the order of the strategies more than the size of their gains" in notes
    assert "embedding" not in answer.err  # the loop has done it
    everything_agrees(stack, answer, tmp_path)

    address = f"{stack.label_studio.url}/projects/{stack.project_id}/data?tab=1"
    by_address = simulate(stack, address, tmp_path)
    assert by_address.json == told  # the same project, and nothing was replayed anew


def test_a_project_that_is_only_read_says_what_it_leaves_out(
    stack: Stack, project: Project, tmp_path: Path
) -> None:
    answer = simulate(stack, project.project_id, tmp_path)
    told = answer.json

    assert told["data"]["images"] == USABLE
    assert sum(told["data"]["classes"].values()) == USABLE
    assert list(told["data"]["unreadable"]) == [f"task-{project.broken}"]
    notes = " ".join(told["notes"])
    tasks = USABLE + UNTOUCHED + 3
    assert f"Of the project's {tasks} tasks {USABLE + 1} have a label that can be used." in notes
    for left_out in (
        f"{UNTOUCHED} that nobody has annotated",
        "1 skipped",
        "1 with as many votes for one class as for another",
        f"cannot be read: 1 image: task-{project.broken} (",
        "no random sample of the project",
        "No audit labels are known",
        "Trust the order of the strategies",
    ):
        assert left_out in notes
    everything_agrees(stack, answer, tmp_path)

    cells = kept(tmp_path)
    shown = stack.command(*command(project.project_id, tmp_path))  # again, for people
    assert shown.code == 0, shown.err
    assert kept(tmp_path) == cells
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == told
    for note in told["notes"]:
        assert note in " ".join(shown.out.split())


def test_another_host_is_asked_with_its_own_token_alone(
    stack: Stack, project: Project, tmp_path: Path
) -> None:
    address = f"{stack.label_studio.url}/projects/{project.project_id}"
    here = {"LABEL_STUDIO_URL": "http://127.0.0.1:9", "LABEL_STUDIO_API_KEY": ""}
    refused = stack.command(*command(address, tmp_path), **here)
    assert (refused.code, refused.out) == (2, "")
    assert "ACTIVE_LABELER_SOURCE_API_KEY is not set" in refused.err
    token = stack.environment["LABEL_STUDIO_API_KEY"]
    answer = simulate(stack, address, tmp_path, **here, ACTIVE_LABELER_SOURCE_API_KEY=token)
    assert answer.json["data"]["images"] == USABLE


def test_what_cannot_be_replayed_says_what_to_do(stack: Stack, tmp_path: Path) -> None:
    unlabeled = create_project(stack.http, "Nobody was here", LABEL_CONFIG)
    images = digit_images(stack.folder / "few")[300:321]
    upload_images(stack.http, unlabeled, images)

    def said(project: object, code: int, **environment: str) -> str:
        answer = stack.command(*command(project, tmp_path), **environment)
        assert (answer.code, answer.out) == (code, ""), answer.err
        assert "Traceback" not in answer.err
        return " ".join(answer.err.split())

    refused = said(unlabeled, 2)
    assert "none of 21 images has a label" in refused
    assert "21 that nobody has annotated" in refused
    for task_id in _task_ids(stack, unlabeled):
        _annotate(stack, task_id, 3)
    assert "all 21 images that can be used are 3" in said(unlabeled, 2)
    assert "has no project 99999" in said(99999, 3)
    assert "is it running" in said(99999, 3, LABEL_STUDIO_URL="http://127.0.0.1:9")
    assert "refuses the token" in said(unlabeled, 3, LABEL_STUDIO_API_KEY="0" * 40)


def label_some(stack: Stack) -> None:
    """Label what the queue asks for until there is enough to replay."""
    while len(settle(stack).labeled) < LABELED:
        for task_id in look(stack).served()[:12]:
            stack.annotate(task_id)


def audit_labels(stack: Stack) -> int:
    """How many labels the loop itself counts as audit labels."""
    last = stack.about("status")["projects"][0]["last_round"]
    return int(last["report"]["held_out"])


def command(project: object, folder: Path) -> tuple[str, ...]:
    return ("simulate", "--from-project", str(project), "--output", str(folder / "out"), *QUICK)


def simulate(stack: Stack, project: object, folder: Path, **environment: str) -> Answer:
    answer = stack.command(*command(project, folder), "--json", **environment)
    assert answer.code == 0, answer.out + answer.err
    return answer


def kept(folder: Path) -> dict[str, int]:
    """When each replay was written."""
    return {file.name: file.stat().st_mtime_ns for file in (folder / "out" / "cells").iterdir()}


def everything_agrees(stack: Stack, answer: Answer, folder: Path) -> None:
    """The files say what --json says, the page has tables and curves, and nothing has a token."""
    told, out = answer.json, folder / "out"
    assert json.loads((out / "results.json").read_text()) == told
    with (out / "results.csv").open() as table:
        measured = list(csv.DictReader(table))
    page = (out / "report.html").read_text()
    for row in told["rows"]:
        for labels, accuracy in row["curve"]:
            points = [
                float(each["accuracy"])
                for each in measured
                if (each["strategy"], each["labels"]) == (row["strategy"], str(labels))
            ]
            assert len(points) == told["plan"]["seeds"]
            assert sum(points) / len(points) == pytest.approx(accuracy["mean"], abs=1e-5)
        assert f">{row['strategy']}<" in page
    assert "<svg" in page
    assert f"on {told['data']['images']} labeled images" in page
    written = [file.read_text() for file in out.rglob("*") if file.suffix in (".json", ".csv")]
    said = "".join([answer.out, answer.err, page, *written])
    for token in (stack.environment["LABEL_STUDIO_API_KEY"], LEGACY_TOKEN):
        assert token not in said


def _task_ids(stack: Stack, project_id: int) -> list[int]:
    page = stack.get(
        "/api/tasks", project=project_id, fields="task_only", include="id", page_size=500
    )
    return sorted(task["id"] for task in page["tasks"])


def _annotate(stack: Stack, task_id: int, digit: int) -> None:
    stack.annotate(task_id, str(digit))


def _dispute(stack: Stack, task_id: int, digit: int) -> None:
    """Another person says something else."""
    region = {"from_name": "digit", "to_name": "image", "type": "choices"}
    with signed_in(stack.label_studio.url, ANNOTATORS[0], PASSWORD) as ann:
        answer = ann.post(
            f"/api/tasks/{task_id}/annotations/",
            json={"result": [{**region, "value": {"choices": [str(digit)]}}]},
        )
        assert answer.is_success, answer.text
