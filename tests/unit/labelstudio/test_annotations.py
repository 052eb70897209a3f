"""What annotations say, one by one and together."""

import pytest

from ml_backend.labelstudio.annotations import Verdict, consensus, read_annotation
from ml_backend.records import Annotation, ChoiceControl

CONTROL = ChoiceControl("kind", "image", "photo", ("cat", "dog", "bird"))


def region(choices: object, from_name: str = "kind") -> dict[str, object]:
    return {"from_name": from_name, "type": "choices", "value": {"choices": choices}}


def raw(result: object, **fields: object) -> dict[str, object]:
    return {"id": 7, "task": 3, "completed_by": 5, "result": result, **fields}


def votes(*choices: str | None, **fields: bool) -> list[Annotation]:
    return [Annotation(i, 1, i, choice, **fields) for i, choice in enumerate(choices)]


def verdict(annotations: list[Annotation]) -> Verdict:
    return consensus(annotations, CONTROL.classes)[1]


def test_an_annotation_is_read():
    read = read_annotation(raw([region(["dog"])], ground_truth=True), CONTROL)

    assert read == Annotation(7, 3, 5, "dog", was_cancelled=False, ground_truth=True)


@pytest.mark.parametrize("person", [{"id": 5, "email": "x"}, 5])
@pytest.mark.parametrize("task", [{"id": 3, "data": {}}, 3])
def test_ids_are_read_bare_and_inside_objects(person, task):
    read = read_annotation(raw([], completed_by=person, task=task), CONTROL)

    assert (read.annotator_id, read.task_id) == (5, 3)


@pytest.mark.parametrize(
    "result",
    [
        [],
        None,
        "text",
        ["text"],
        [region(["dog"], from_name="other")],
        [region(["cat", "dog"])],
        [region([])],
        [region("cat")],
        [{"from_name": "kind", "value": None}],
    ],
)
def test_what_is_not_one_choice_of_the_control_is_no_answer(result):
    assert read_annotation(raw(result), CONTROL).choice is None


def test_the_control_is_found_among_others():
    read = read_annotation(raw([region(["x"], "other"), region(["cat"])]), CONTROL)

    assert read.choice == "cat"


def test_a_skip_has_no_choice_even_where_something_was_ticked():
    read = read_annotation(raw([region(["cat"])], was_cancelled=True), CONTROL)

    assert (read.choice, read.was_cancelled) == (None, True)


def test_an_annotation_that_belongs_to_no_task_is_refused():
    with pytest.raises(ValueError, match="annotation 7"):
        read_annotation({"id": 7, "result": []}, CONTROL)


@pytest.mark.parametrize(
    ("choices", "status", "choice"),
    [
        (["cat"], "labeled", "cat"),
        (["cat", "cat", "dog"], "labeled", "cat"),
        (["cat", None], "labeled", "cat"),  # who left it empty has no vote
        (["cat", "dog"], "tie", None),
        (["cat", "cat", "dog", "dog", "bird"], "tie", None),
        (["cat", "cat", "dog", "bird"], "disagreement", None),  # 2 of 4 is not more than half
        (["cat", "cat", "cat", "dog", "bird"], "labeled", "cat"),  # 3 of 5 is
        (["wolf"], "unknown choice", None),
        (["wolf", "cat"], "tie", None),
        (["wolf", "cat", "cat"], "labeled", "cat"),
        ([None], "empty", None),
    ],
)
def test_the_majority_decides(choices, status, choice):
    found = verdict(votes(*choices))

    assert (found.status, found.choice) == (status, choice)


def test_votes_are_counted_most_first():
    assert verdict(votes("dog", "cat", "dog", "bird")).votes == (
        ("dog", 2),
        ("bird", 1),
        ("cat", 1),
    )


def test_ground_truth_outvotes_a_majority():
    truth = Annotation(9, 1, 9, "bird", ground_truth=True)

    assert verdict([*votes("cat", "cat", "cat"), truth]).choice == "bird"


def test_ground_truths_that_contradict_each_other_are_a_tie():
    truths = votes("cat", "dog", ground_truth=True)

    assert verdict([*truths, *votes("cat")]).status == "tie"


def test_an_empty_ground_truth_leaves_the_vote_to_the_others():
    assert verdict([*votes(None, ground_truth=True), *votes("cat")]).choice == "cat"


def test_skips_do_not_vote_and_are_not_forgotten():
    skips = votes(None, None, was_cancelled=True)

    assert verdict(skips) == Verdict("skipped")
    assert verdict([*skips, *votes("cat")]).choice == "cat"


def test_tasks_are_settled_apart_and_unannotated_ones_are_absent():
    found = consensus([Annotation(1, 10, 1, "cat"), Annotation(2, 11, 1, "dog")], CONTROL.classes)

    assert {task_id: each.choice for task_id, each in found.items()} == {10: "cat", 11: "dog"}
