"""What a project's annotations give to a replay, and what is said of the tasks without a label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_backend.gathering import gather
from ml_backend.project_labels import labels_of_connected, labels_of_unconnected
from ml_backend.project_source import ProjectSource
from ml_backend.records import Annotation, ChoiceControl, Task
from ml_backend.settings import load_settings
from tests.loop import ColourBackbone, Loop, truth

CONTROL = ChoiceControl("kind", "image", "image", ("cat", "bird"))


class Reader:
    """A project of six tasks, each with a story of its own."""

    def __init__(self) -> None:
        addresses = {number: f"/data/upload/{number}.png" for number in (1, 2, 3, 4, 6)}
        self.tasks = [Task(number, addresses.get(number, "")) for number in range(1, 7)]
        self.answers = [
            Annotation(1, 1, 1, "cat"),
            Annotation(2, 2, 1, "cat"),
            Annotation(3, 2, 2, "bird"),
            Annotation(4, 3, 1, None, was_cancelled=True),
            Annotation(5, 4, 1, "dodo"),
        ]

    def changed_since(self, *_: object) -> Iterator[tuple[list[Task], list[Annotation]]]:
        yield self.tasks, self.answers


def source(reader: Any) -> ProjectSource:
    return ProjectSource(reader, None, CONTROL)  # type: ignore[arg-type]  # nothing is read


def test_each_task_that_is_left_out_is_counted_by_its_reason() -> None:
    project = source(Reader())
    for _ in range(2):  # a second pass counts anew
        found = labels_of_unconnected(project, 1000)
    assert [(each.key, each.label) for each in found.images] == [
        ("task-1", "cat"),
        ("task-2", ""),
        ("task-3", ""),
        ("task-4", ""),
        ("task-6", ""),
    ]
    assert found.notes[0] == "Of the project's 6 tasks 1 has a label that can be used."
    assert found.notes[1] == (
        "Left out: 1 with as many votes for one class as for another, 1 skipped, 1 with a class "
        "that the labeling config does not have any more, 1 without an image, 1 that nobody has "
        "annotated."
    )
    assert "No audit labels are known" in found.caveats[0]


def test_where_all_is_labeled_nothing_was_chosen() -> None:
    reader = Reader()
    del reader.tasks[1:], reader.answers[1:]
    found = labels_of_unconnected(source(reader), 1000)
    assert found.notes == ("Of the project's 1 tasks 1 has a label that can be used.",)
    assert found.caveats == ("All tasks are labeled: it does not matter how they were chosen.",)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    loop.store.save_project(replace(loop.store.get_project(1), audit_share=0.3))
    yield loop
    loop.store.close()


def test_a_project_gives_what_is_labeled_and_says_how_it_was_chosen(loop: Loop) -> None:
    task_ids = loop.server.add_tasks(60)
    loop.ask()
    loop.run()
    for task_id in task_ids[:40]:
        loop.label(task_id)
    loop.run()
    bench = loop.workbench(1, lambda: None)
    found = labels_of_connected(bench)
    assert {each.key: each.label for each in found.images} == {
        f"task {task_id}": truth(task_id) if task_id in task_ids[:40] else ""
        for task_id in task_ids
    }
    assert found.notes == (
        "Of the project's 60 tasks 40 have a label that can be used.",
        "Left out: 20 that nobody has annotated.",
    )
    audit = sum(bench.holdout.has(str(each.content_hash)) for each in found.images if each.label)
    assert 0 < audit < 40
    assert f"{audit} are audit labels" in found.caveats[0]
    assert f"{40 - audit} of the labels were chosen by the queue" in found.caveats[0]
    loop.images.reads.clear()
    settings = load_settings(model_dir=loop.folder)
    gathered = gather(
        found.images,
        {"colour": (ColourBackbone(), loop.cache)},
        settings,
        lambda *_: None,
        source="project 1",
        notes=found.notes,
        caveats=found.caveats,
    )
    assert gathered.facts["images"] == 40
    assert gathered.notes[:2] == found.notes
    assert gathered.notes[-2:] == found.caveats
    assert loop.images.reads == []  # the rounds have embedded them
