"""When a run has done enough, and how it is shown."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from scripts.run.config import Labeling
from scripts.run.show import Board
from scripts.run.target import Standing, labels_to_go, reached


def labeling(**values: object) -> Labeling:
    return Labeling.model_validate(values)


@pytest.mark.parametrize(
    ("target", "now", "expected"),
    [
        ({"labels": 10}, Standing(9, 50), None),
        ({"labels": 10}, Standing(10, 50), "10 were wanted"),
        ({"accuracy": 0.9}, Standing(9, 50, accuracy=0.95, interval=(0.8, 0.99)), None),
        ({"accuracy": 0.9}, Standing(9, 50, accuracy=0.95, interval=(0.91, 0.99)), "91.0%"),
        ({"accuracy": 0.9}, Standing(9, 50), None),
        ({"hours": 2}, Standing(9, 50, hours=1.9), None),
        ({"hours": 2}, Standing(9, 50, hours=2.0), "2 were wanted"),
        ({}, Standing(49, 50), None),
        ({}, Standing(50, 50), "labeled"),
        ({"labels": 99}, Standing(50, 50), "labeled"),
        ({}, Standing(40, 50, left=0), "labeled"),
        ({"labels": 10, "hours": 1}, Standing(3, 50, hours=1.5), "open for"),
    ],
)
def test_a_target_is_reached_when_it_is(
    target: dict[str, float], now: Standing, expected: str | None
) -> None:
    why = reached(labeling(target=target), now)
    assert (why is None) == (expected is None)
    assert (expected or "") in (why or "")


def test_rounds_are_labels_beside_the_beginning() -> None:
    asked = labeling(rounds=3, labels_per_round=5, initial_labels=4)
    assert asked.most_labels() == 19
    assert reached(asked, Standing(18, 50)) is None
    assert reached(asked, Standing(19, 50)) is not None
    assert labels_to_go(asked, Standing(18, 50)) == 1


def test_the_earlier_of_two_targets_counts() -> None:
    assert labeling(rounds=2, target={"labels": 9}).most_labels() == 2
    assert labeling(rounds=20, target={"labels": 9}).most_labels() == 9


def test_lines_tell_what_a_terminal_would_draw() -> None:
    out = StringIO()
    with Board(Console(file=out, width=200), labeling(target={"labels": 10})) as board:
        board.show(
            Standing(
                4,
                50,
                accuracy=0.5,
                interval=(0.2, 0.8),
                classes={"cat [b]": 3, "dog": 1},
                queue="al-1, 46 tasks in order",
            )
        )
    said = out.getvalue()
    for expected in (
        "labels 4 of 10 (50 images)",
        "accuracy 50.0% (20.0% to 80.0%)",
        "classes cat [b]: 3, dog: 1",
        "queue al-1",
    ):
        assert expected in said


def test_a_terminal_shows_the_same_whatever_classes_are_called() -> None:
    out = StringIO()
    console = Console(file=out, width=100, force_terminal=True)
    with Board(console, labeling()) as board:
        board.show(Standing(4, 50, classes={"[red]": 4}))
    assert "[red]: 4" in out.getvalue()
