"""A share of the queue looks for rare classes by their labeled examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.loop import PLAN, Loop, truth

LOOKS_ALIKE = "Looks like the examples."


def loop_with(folder: Path, share: float, *classes: str) -> Loop:
    """Sixty tasks, six of them labeled, two of each class."""
    made = Loop(folder, plan=replace(PLAN, similar_share=share, rare_classes=classes))
    made.server.add_tasks(60)
    made.ask("connect")
    made.run()
    for task_id in range(1, 7):
        made.label(task_id)
    made.run()
    return made


def alike(loop: Loop) -> list[int]:
    """The places of the queue that are there because of what they look like."""
    reasons = loop.trainer.memory[1].results.reasons
    return [place for place, reason in enumerate(reasons) if reason == LOOKS_ALIKE]


def test_every_fourth_label_goes_to_what_looks_alike(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, 0.25, "bird")
    assert alike(loop) == [1, 5, 9, 13, 17]  # six are labeled: the eighth is its turn
    served = loop.server.served_order(20)
    assert {truth(served[place]) for place in alike(loop)} == {"bird"}
    assert len(set(served)) == 20


def test_the_turn_comes_although_the_queue_is_ranked_anew(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, 0.25, "bird")
    loop.label(loop.server.served_order(1)[0])
    loop.ask("sync")
    loop.run()
    loop.store.ask_front(1, [60], "a new order in any case", loop.now())
    loop.run()
    assert alike(loop)[0] == 1  # 0 but for the one that was put at the front


def test_classes_take_turns(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, 0.5, "bird", "cat")
    served = loop.server.served_order(20)
    found = [truth(served[place]) for place in alike(loop)]
    assert set(found[:2]) == set(found[2:4]) == {"bird", "cat"}


@pytest.mark.parametrize(("share", "classes"), [(0.0, ["bird"]), (0.5, []), (0.5, ["fish"])])
def test_nothing_changes_where_nothing_is_asked_for(
    tmp_path: Path, share: float, classes: list[str]
) -> None:
    loop = loop_with(tmp_path / "asked", share, *classes)
    plain = loop_with(tmp_path / "plain", 0.0)
    assert loop.server.served_order(20) == plain.server.served_order(20)


def test_before_a_rare_class_has_a_label_the_strategy_has_it_all(tmp_path: Path) -> None:
    loop = Loop(tmp_path, plan=replace(PLAN, similar_share=0.5, rare_classes=("bird",)))
    loop.server.add_tasks(9)
    loop.ask("connect")
    loop.run()
    assert loop.last_round().state == "published"
    assert alike(loop) == []
