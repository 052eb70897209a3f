"""`why` gives the numbers behind a task's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend.explaining import explain
from tests.loop import Loop, truth


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """Thirty tasks, six of them labeled; one cannot be read."""
    made = Loop(tmp_path)
    made.server.add_tasks(30)
    made.images.unreadable[30] = "the file is cut off"
    made.ask()
    made.run()
    for task_id in made.server.served_order(6):
        made.label(task_id)
    made.run()
    return made


def why(loop: Loop, task_id: int) -> dict[str, object]:
    project = loop.store.get_project(loop.project_id)
    results = loop.trainer.memory[loop.project_id].results
    window = loop.store.window(loop.project_id, project.current_version)
    mirror = loop.store.mirror(loop.project_id)
    return explain(project, results, mirror, loop.cache, window, task_id)


def test_the_first_task_is_first_with_a_reason_and_two_classes(loop: Loop) -> None:
    first = loop.server.served_order(1)[0]
    answer = why(loop, first)
    assert (answer["place"], answer["of"], answer["in_published_window"]) == (0, 24, True)
    (likeliest, p1), (_, p2) = answer["likeliest"]
    assert likeliest == truth(first)
    assert answer["uncertainty"] == pytest.approx(1 - (p1 - p2), abs=1e-5)
    assert answer["reason"]
    assert answer["model_version"] == answer["version_in_force"]


def test_nearest_labeled_neighbour_is_of_the_same_colour(loop: Loop) -> None:
    first = loop.server.served_order(1)[0]
    nearest = why(loop, first)["nearest_labeled"]
    assert nearest["label"] == truth(first)
    assert truth(nearest["task"]) == truth(first)
    assert 0.9 < nearest["similarity"] <= 1.0001


@pytest.mark.parametrize(
    ("pick", "words"),
    [
        (lambda loop: 30, "cut off"),
        (lambda loop: int(loop.trainer.memory[1].results.labeled_ids_M[0]), "labeled"),
        (lambda loop: 999, "no such task"),
    ],
)
def test_a_task_without_a_place_is_told_why(loop: Loop, pick: object, words: str) -> None:
    answer = why(loop, pick(loop))
    assert answer["place"] is None
    assert words in answer["reason"]
