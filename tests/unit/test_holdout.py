"""What models are measured on: drawn once, served at its pace, never trained on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ml_backend.lookup import TaskLookup
from ml_backend.predicting import Predictor
from ml_backend.steps.holdout import REASON, Holdout, interleave, reasons_in_order
from tests.loop import FakeImages, Loop, truth


class SameImages(FakeImages):
    """One picture for all tasks."""

    def read(self, task_id: int, uri: str) -> bytes:
        return super().read(1, uri)


def hashes(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]


def merged(ranked: int, audit: int, share: float, *, trained_on: int = 0, held_out: int = 0) -> str:
    """Write the order down: r for what is ranked, a for the audit."""
    order = interleave(
        np.arange(ranked),
        np.arange(ranked, ranked + audit),
        share,
        trained_on=trained_on,
        held_out=held_out,
    )
    assert order[order < ranked].tolist() == list(range(ranked))
    assert order[order >= ranked].tolist() == list(range(ranked, ranked + audit))
    return "".join("r" if row < ranked else "a" for row in order)


def test_about_the_share_of_images_is_drawn() -> None:
    drawn = sum(map(Holdout(0.1, 7).has, hashes(10_000)))
    assert 900 < drawn < 1100  # three standard deviations of 30 are 90


def test_a_larger_share_holds_all_of_a_smaller_one() -> None:
    small, large = Holdout(0.05, 7), Holdout(0.2, 7)
    assert all(large.has(name) for name in hashes(2000) if small.has(name))


def test_projects_draw_apart_from_each_other() -> None:
    first, second = ({n for n in hashes(2000) if Holdout(0.1, p).has(n)} for p in (7, 8))
    assert len(first & second) < len(first) / 2


def test_without_a_share_nothing_is_held_out() -> None:
    assert not any(map(Holdout(0.0, 7).has, hashes(100)))


def test_every_fourth_task_is_an_audit_at_a_quarter() -> None:
    assert merged(9, 3, 0.25) == "rrrarrrarrra"


@pytest.mark.parametrize(
    ("labeled", "expected"),
    [
        ({"trained_on": 1}, "rrarrra"),  # one of three is done
        ({"trained_on": 3}, "arrrarr"),  # the turn is an audit's now
        ({"trained_on": 3, "held_out": 1}, "rrrarra"),  # and was taken
    ],
)
def test_the_pace_goes_on_where_the_last_order_was_left(
    labeled: dict[str, int], expected: str
) -> None:
    assert merged(5, 2, 0.25, **labeled) == expected


def test_a_gap_is_closed_without_two_audits_in_a_row() -> None:
    assert merged(6, 3, 0.1, trained_on=100) == "ararar" + "rrr"


def test_what_is_left_of_either_follows() -> None:
    assert merged(1, 3, 0.5) == "raaa"
    assert merged(3, 0, 0.5) == "rrr"
    assert merged(0, 2, 0.5) == "aa"


def test_reasons_keep_to_their_places() -> None:
    order = np.array([0, 9, 1, 2])
    assert reasons_in_order(order, 9, ["first", "second"]) == ("first", REASON, "second")


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """Sixty tasks, of which about a quarter is held out."""
    made = Loop(tmp_path)
    made.store.update_project(made.project_id, audit_share=0.25)
    made.server.add_tasks(60)
    made.ask("connect")
    made.run()
    return made


def held_out(loop: Loop) -> set[int]:
    mirror = loop.store.mirror(loop.project_id)
    holdout = Holdout(0.25, loop.project_id)
    pairs = zip(mirror.task_ids.tolist(), mirror.content_hashes, strict=True)
    return {task_id for task_id, content_hash in pairs if holdout.has(str(content_hash))}


def label_next(loop: Loop, n: int) -> list[int]:
    """Label one after the other what is served, with a round after each."""
    done = []
    for _ in range(n):
        done.append(loop.server.served_order(1)[0])
        loop.label(done[-1])
        loop.run()
    return done


def results(loop: Loop):
    found = loop.trainer.memory[loop.project_id].results
    assert found is not None
    return found


def test_annotators_are_served_the_holdout_at_its_share_however_often_it_is_ranked(
    loop: Loop,
) -> None:
    done = label_next(loop, 20)
    assert sum(task_id in held_out(loop) for task_id in done) == 5


def test_held_out_tasks_are_never_trained_on(loop: Loop) -> None:
    done = label_next(loop, 20)
    found = results(loop)
    assert set(found.labeled_ids_M.tolist()) == set(done) - held_out(loop)
    assert set(found.holdout_ids_H.tolist()) == set(done) & held_out(loop)


def test_held_out_tasks_are_shown_without_a_prelabel_and_others_with_one(loop: Loop) -> None:
    label_next(loop, 10)
    served = loop.server.served_order(20)
    version = loop.server.settings.model_version
    shown = {p.task_id: p.choice for p in loop.server.predictions if p.version == version}
    assert {task_id for task_id in served if shown[task_id] is None} == set(served) & held_out(loop)


def test_predict_does_not_answer_for_held_out_tasks(loop: Loop) -> None:
    label_next(loop, 10)
    project = loop.store.get_project(loop.project_id)
    assert project is not None
    predictor = Predictor(project, results(loop), lambda _id, _uri: None, prelabel=True)
    lookup = TaskLookup(results(loop))
    [audited, ranked] = predictor.predict(
        [
            {"id": next(t for t in lookup.results.task_ids_N.tolist() if lookup.is_audit(t))},
            {"id": next(t for t in lookup.results.task_ids_N.tolist() if not lookup.is_audit(t))},
        ]
    )
    assert audited["result"] == []
    assert ranked["result"] != []


def test_the_report_measures_on_the_holdout(loop: Loop) -> None:
    done = label_next(loop, 20)
    report = loop.last_round().report
    assert report["labeled"] == len(done)
    assert (report["trained_on"], report["held_out"]) == (15, 5)
    low, high = report["holdout_interval"]
    assert low < report["holdout_accuracy"] <= high


def test_the_holdout_stays_through_deletions_additions_and_corrections(loop: Loop) -> None:
    label_next(loop, 12)
    before = held_out(loop)
    for task_id in list(loop.server.task_table)[:10]:
        loop.server.delete_task(task_id)
    loop.server.add_tasks(10)
    loop.ask("sync")
    loop.run()
    still = set(loop.server.task_table)
    assert held_out(loop) & still >= before & still
    assert not set(results(loop).labeled_ids_M.tolist()) & held_out(loop)


def test_another_class_in_the_config_moves_nobody_between_the_sides(loop: Loop) -> None:
    label_next(loop, 12)
    before = set(results(loop).holdout_ids_H.tolist())
    loop.server.label_config = loop.server.label_config.replace(
        '<Choice value="bird"/>', '<Choice value="bird"/><Choice value="newt"/>'
    )
    loop.hear("PROJECT_UPDATED")
    loop.run()
    assert set(results(loop).holdout_ids_H.tolist()) == before


def test_labels_that_were_there_before_are_split_by_the_same_draw(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.store.update_project(loop.project_id, audit_share=0.25)
    for task_id in loop.server.add_tasks(40):
        loop.server.annotate(task_id, truth(task_id))
    loop.ask("connect")
    loop.run()
    assert loop.last_round().report["labeled"] == 40
    assert loop.last_round().report["held_out"] == len(held_out(loop)) > 0


def test_exact_copies_lie_on_the_same_side(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    holdout = Holdout(0.25, loop.project_id)
    loop.store.update_project(loop.project_id, audit_share=0.25)
    task_ids = loop.server.add_tasks(20)
    loop.images = SameImages()
    for task_id in task_ids:
        loop.server.annotate(task_id, "cat")
    loop.ask("connect")
    loop.run()
    mirror = loop.store.mirror(loop.project_id)
    [content] = set(mirror.content_hashes)
    expected = 20 if holdout.has(str(content)) else 0
    assert loop.last_round().report["held_out"] == expected
