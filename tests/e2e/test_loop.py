"""The loop, whole and real: two people annotate in browsers while the queue follows the model.

The tests share one stack and run in this order; each leaves it settled, and right.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.annotator import Annotator, chromium
from tests.e2e.stack import ANNOTATORS, WINDOW, Stack
from tests.e2e.truths import Truth, choice_of, find_everything_right, look, settle
from tests.label_studio_server import PASSWORD

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(300)]

SUBMITS_EACH = 6


@pytest.fixture(scope="module")
def two_annotators(bare_stack: Stack) -> Iterator[tuple[Annotator, Annotator]]:
    """Ann and Ben, each logged in in a browser context of their own."""
    url, project_id = bare_stack.label_studio.url, bare_stack.project_id
    with chromium() as browser:
        ann, ben = (
            Annotator.sign_in(browser, url, name, PASSWORD, project_id) for name in ANNOTATORS
        )
        yield ann, ben


def expected_next(truth: Truth, locked: set[int | None]) -> int:
    """The task that somebody gets who asks now, while others have `locked` open."""
    return next(task_id for task_id in truth.served() if task_id not in locked)


def test_connecting_publishes_a_diverse_order_before_there_is_any_label(
    stack: Stack, connected: Any
) -> None:
    truth = find_everything_right(stack)
    assert connected["connected"] is True
    assert {finding["state"] for finding in connected["doctor"]} == {"ok"}
    assert connected["round"]["front"] == truth.served()[:20]
    assert len(truth.predictions()) == WINDOW
    assert not any(choice_of(prediction) for prediction in truth.predictions().values())
    assert len({stack.truth[task_id] for task_id in truth.served()[:10]}) >= 6


@pytest.mark.browser
def test_two_annotators_are_served_the_published_order_and_never_the_same_task(
    stack: Stack, two_annotators: tuple[Annotator, Annotator]
) -> None:
    ann, ben = two_annotators
    first, second = look(stack).served()[:2]
    assert [ann.label_all_tasks(), ben.label_all_tasks()] == [first, second]
    seen = [first, second]
    orders = [look(stack).served()]
    for turn in range(2 * SUBMITS_EACH):
        who, other = (ann, ben) if turn % 2 == 0 else (ben, ann)
        before = settle(stack)
        done = who.task_id
        who.choose(stack.truth[done])
        shown = who.submit()
        after = find_everything_right(stack)
        # The submit starts a round, and asks for the next task while that round is at work.
        taken = {done, other.task_id}
        assert shown in {expected_next(before, taken), expected_next(after, taken - {shown})}
        seen.append(shown)
        orders.append(after.served())
    assert len(set(seen)) == len(seen) == 2 + 2 * SUBMITS_EACH
    assert look(stack).labeled == set(seen) - {ann.task_id, ben.task_id}
    changed = sum(
        [t for t in before if t in after] != [t for t in after if t in before]
        for before, after in pairwise(orders)
    )
    assert changed >= SUBMITS_EACH, "the order did not follow the annotations"


@pytest.mark.browser
def test_a_task_that_is_open_stays_with_its_annotator_and_shows_the_prelabel(
    stack: Stack, two_annotators: tuple[Annotator, Annotator], screenshots: Path
) -> None:
    truth = find_everything_right(stack)
    for annotator in two_annotators:
        open_task = annotator.task_id
        assert annotator.label_all_tasks() == open_task
        assert annotator.ticked() == [choice_of(truth.predictions()[open_task])]
        annotator.screenshot(screenshots / f"{annotator.name}.png")


@pytest.mark.browser
def test_a_skipped_task_is_neither_a_label_nor_forgotten(
    stack: Stack, two_annotators: tuple[Annotator, Annotator]
) -> None:
    ann, _ben = two_annotators
    skipped = ann.task_id
    before = settle(stack)
    shown = ann.skip()
    truth = find_everything_right(stack)
    assert shown != skipped
    assert truth.labeled == before.labeled
    assert truth.skipped == {skipped}
    counts = stack.about("status")["projects"][0]["counts"]
    assert (counts["skips"], counts["pool"]) == (1, len(truth.tasks) - len(truth.labeled))
