"""Search by example finds what looks alike, and leaves alone what is drawn for measuring."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.searching import find_similar
from ml_backend.steps.holdout import Holdout
from tests.loop import Loop, picture, truth


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """Thirty tasks, six of them labeled."""
    made = Loop(tmp_path)
    made.server.add_tasks(30)
    made.ask("connect")
    made.run()
    for task_id in made.server.served_order(6):
        made.label(task_id)
    made.run()
    return made


def similar(loop: Loop, tasks: list[int], files: list[Path], count: int = 5):
    return find_similar(loop.workbench(1, lambda: None), tasks, files, count)


def test_tasks_of_the_same_colour_are_found_most_alike_first(loop: Loop) -> None:
    example = loop.server.served_order(1)[0]
    found = similar(loop, [example], [])
    assert len(found) == 5
    assert example not in dict(found)
    assert {truth(task_id) for task_id, _ in found} == {truth(example)}
    cosines = [cosine for _, cosine in found]
    assert cosines == sorted(cosines, reverse=True)
    assert 0.9 < cosines[0] <= 1.0001


def test_a_file_is_an_example_too(loop: Loop, tmp_path: Path) -> None:
    file = tmp_path / "example.png"
    file.write_bytes(picture(301))
    found = similar(loop, [], [file])
    assert {truth(task_id) for task_id, _ in found} == {truth(301)}


def test_a_labeled_task_may_be_the_example_and_is_never_found(loop: Loop) -> None:
    labeled = {each.task_id for each in loop.server.annotation_table.values()}
    found = similar(loop, [min(labeled)], [], count=99)
    assert len(found) == 24
    assert not labeled & dict(found).keys()


def test_what_is_drawn_for_measuring_is_left_out(loop: Loop) -> None:
    loop.store.update_project(1, audit_share=0.3)
    holdout, mirror = Holdout(0.3, 1), loop.store.mirror(1)
    found = dict(similar(loop, [int(mirror.task_ids[0])], [], count=99))
    names = dict(zip(mirror.task_ids.tolist(), mirror.content_hashes, strict=True))
    assert 0 < len(found) < 24
    assert not any(holdout.has(str(names[task_id])) for task_id in found)


def test_what_is_no_example_is_named(loop: Loop, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="999"):
        similar(loop, [999], [])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    with pytest.raises(ImageUnreadable):
        similar(loop, [], [broken])
