"""What people put at the front is served first, and leaves the front once it is answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ml_backend.steps import front
from ml_backend.steps.holdout import Holdout
from tests.loop import PLAN, Loop, truth


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """Thirty tasks, six of them labeled by annotator 1; an order is published."""
    made = Loop(tmp_path)
    made.server.add_tasks(30)
    made.ask("connect")
    made.run()
    for task_id in made.server.served_order(6):
        made.label(task_id)
    made.run()
    return made


def ask(loop: Loop, *task_ids: int, why: str = "a hunch") -> None:
    loop.store.ask_front(loop.project_id, task_ids, why, loop.now())


def wanted(loop: Loop) -> list[int]:
    return [record.task_id for record in loop.store.fronts(loop.project_id)]


def labeled(loop: Loop) -> list[int]:
    return [each.task_id for each in loop.server.annotation_table.values()]


def again(loop: Loop, task_id: int, choice: str | None = None) -> int:
    """Answer as annotator 2."""
    made = loop.server.annotate(task_id, choice or truth(task_id), annotator_id=2)
    loop.hear("ANNOTATION_CREATED", tasks=(task_id,), annotations=(made,))
    return made


def test_unlabeled_tasks_are_served_first_in_the_asked_order(loop: Loop) -> None:
    before = loop.server.served_order(30)
    last, one_more = before[-1], before[-3]
    ask(loop, last, one_more)
    loop.run()
    after = loop.server.served_order(30)
    assert after[:2] == [last, one_more]
    assert after[2:] == [each for each in before if each not in (last, one_more)]
    shown = {p.task_id: p.choice for p in loop.server.predictions}
    assert shown[last] == truth(last)  # with the model's answer, as any other


def test_a_task_leaves_the_front_once_it_is_labeled(loop: Loop) -> None:
    task_id = loop.server.served_order(30)[-1]
    ask(loop, task_id)
    loop.run()
    loop.label(task_id)
    loop.run()
    assert wanted(loop) == []
    assert loop.server.overlaps == {}


def test_why_says_who_put_it_there(loop: Loop) -> None:
    from ml_backend.explaining import explain

    first, task_id = labeled(loop)[0], loop.server.served_order(30)[-1]
    ask(loop, task_id, first, why="it looks odd")
    loop.run()
    records = {record.task_id: record for record in loop.store.fronts(loop.project_id)}
    project = loop.store.get_project(loop.project_id)
    window = loop.store.window(loop.project_id, project.current_version)
    results = loop.trainer.last_results(loop.project_id)
    mirror = loop.store.mirror(loop.project_id)
    for place, each in enumerate([task_id, first]):
        told = explain(project, results, mirror, loop.cache, window, each, records[each])
        assert (told["reason"], told["place"]) == ("Put at the front: it looks odd", place)


def test_a_labeled_task_is_opened_for_one_more_and_comes_first_without_an_answer(
    loop: Loop,
) -> None:
    suspect, *_ = labeled(loop)
    ask(loop, suspect, why="suspect")
    loop.run()
    assert loop.server.served_order(1) == [suspect]
    current = loop.server.settings.model_version
    (shown,) = (p for p in loop.server.predictions if (p.task_id, p.version) == (suspect, current))
    assert shown.choice is None
    assert loop.server.overlaps == {suspect: 2}


def test_the_second_answer_closes_it_as_it_was(loop: Loop) -> None:
    suspect, *_ = labeled(loop)
    ask(loop, suspect)
    loop.run()
    again(loop, suspect)
    loop.run()
    assert wanted(loop) == []
    assert loop.store.fronts(loop.project_id, withdrawn=True) == []
    assert loop.server.overlaps == {suspect: 1}
    assert suspect not in loop.server.served_order(30)


def test_the_first_annotator_answers_by_correcting_their_own(loop: Loop) -> None:
    annotation_id, found = next(iter(loop.server.annotation_table.items()))
    ask(loop, found.task_id)
    loop.run()
    other = "bird" if found.choice != "bird" else "cat"
    loop.server.update_annotation(annotation_id, other)
    loop.hear("ANNOTATION_UPDATED", tasks=(found.task_id,), annotations=(annotation_id,))
    loop.run()
    assert wanted(loop) == []
    assert loop.server.overlaps == {found.task_id: 1}


def test_a_disagreement_can_be_put_to_a_third(loop: Loop) -> None:
    suspect, *_ = labeled(loop)
    ask(loop, suspect)
    loop.run()
    other = next(name for name in ("cat", "bird") if name != truth(suspect))
    again(loop, suspect, other)
    loop.run()
    ask(loop, suspect, why="disagreement")
    loop.run()
    assert loop.server.overlaps == {suspect: 3}
    assert loop.server.served_order(1) == [suspect]


def test_withdrawing_puts_everything_back(loop: Loop) -> None:
    suspect, *_ = labeled(loop)
    ask(loop, suspect)
    loop.run()
    loop.store.drop_fronts(loop.project_id, [suspect])
    loop.ask("front")
    loop.run()
    assert loop.server.overlaps == {suspect: 1}
    assert suspect not in loop.server.served_order(30)
    assert loop.store.fronts(loop.project_id, withdrawn=True) == []


def test_an_overlap_that_somebody_changed_meanwhile_stays_theirs(loop: Loop) -> None:
    suspect, *_ = labeled(loop)
    ask(loop, suspect)
    loop.run()
    loop.server.overlaps[suspect] = 5
    loop.store.drop_fronts(loop.project_id, [suspect])
    loop.ask("front")
    loop.run()
    assert loop.server.overlaps == {suspect: 5}


def test_a_deleted_task_is_wanted_no_more(loop: Loop) -> None:
    suspect, *_ = labeled(loop)
    unlabeled = loop.server.served_order(30)[-1]
    ask(loop, suspect, unlabeled)
    loop.run()
    for task_id in (suspect, unlabeled):
        loop.server.delete_task(task_id)
    loop.ask("sync")
    loop.run()
    assert wanted(loop) == []
    assert loop.store.fronts(loop.project_id, withdrawn=True) == []


def test_a_task_without_a_vector_can_be_wanted_too(loop: Loop) -> None:
    (unreadable,) = loop.server.add_tasks(1)
    loop.images.unreadable[unreadable] = "not a picture"
    loop.ask("sync")
    loop.run()
    ask(loop, unreadable)
    loop.run()
    assert loop.server.served_order(1) == [unreadable]


def test_tasks_drawn_for_the_holdout_keep_their_turn(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(60)
    loop.store.update_project(loop.project_id, audit_share=0.3)
    loop.ask("connect")
    loop.run()
    holdout = Holdout(0.3, loop.project_id)
    mirror = loop.store.mirror(loop.project_id)
    drawn = [
        int(task_id)
        for task_id, name in zip(mirror.task_ids, mirror.content_hashes, strict=True)
        if holdout.has(str(name))
    ]
    before = loop.server.served_order(60)
    ask(loop, drawn[-1])
    loop.run()
    assert loop.server.served_order(60) == before
    assert wanted(loop) == [drawn[-1]]


def test_only_so_many_labeled_tasks_are_open_at_a_time(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "OPEN_AT_ONCE", 2)
    first, second, third, *_ = labeled(loop)
    ask(loop, first, second, third)
    loop.run()
    assert loop.server.overlaps == {first: 2, second: 2}
    again(loop, first)
    loop.run()
    loop.run()
    assert loop.server.overlaps == {first: 1, second: 2, third: 2}
    assert loop.server.served_order(2) == [second, third]


def test_a_queue_that_a_rollback_holds_opens_nothing(loop: Loop) -> None:
    loop.store.update_project(loop.project_id, held=True)
    suspect, *_ = labeled(loop)
    ask(loop, suspect)
    loop.run()
    assert loop.server.overlaps == {}


def test_the_front_that_annotators_wait_for_can_be_served(loop: Loop) -> None:
    loop.plan = replace(PLAN, front=3)
    written: list[list[int]] = []
    write = loop.queue.write

    def noted(entries: list, version: str) -> object:
        written.append([entry.task_id for entry in entries])
        return write(entries, version)

    loop.queue.write = noted
    suspects = labeled(loop)[:4]
    ask(loop, *suspects)
    loop.run()
    assert len(written[0]) == 3
    assert not set(written[0]) & set(suspects)
    assert written[1][:4] == suspects


def test_an_interrupted_round_opens_one_and_asks_for_another_round(loop: Loop) -> None:
    first, second, *_ = labeled(loop)
    ask(loop, first, second)
    claim = loop.store.claim("test", 30.0, loop.now())
    bench = loop.workbench(loop.project_id, lambda: None)
    assert front.tend_front(bench, lambda: True) is False
    assert loop.server.overlaps == {first: 2}
    loop.store.abandon(claim, loop.now())
    loop.run()
    assert loop.server.overlaps == {first: 2, second: 2}


def test_each_published_round_tells_how_much_of_the_order_stayed(loop: Loop) -> None:
    reports = [each.report.get("kept") for each in loop.store.rounds(loop.project_id)]
    assert reports[-1] is None  # the first one: there was no order before
    assert 0 <= reports[0] <= 1
    loop.ask("sync")
    ask(loop, loop.server.served_order(30)[-1])
    loop.run()
    assert loop.last_round().report["kept"] == 1.0
