"""ActiveLab by hand, and who disagrees."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.appraisal.evidence import Opinion
from ml_backend.appraisal.second_opinions import (
    Trust,
    agreement_of,
    by_task,
    labeled_score,
    second_opinions,
    trust_in,
    unlabeled_score,
)


def opinions(task: int, *answers: tuple[int | None, int]) -> list[Opinion]:
    return [Opinion(task, annotator, row) for annotator, row in answers]


def test_with_one_label_a_task_the_scores_are_those_of_equal_weights() -> None:
    """Labeled (2 p + 1/K) / 3, unlabeled (max p + 1/K) / 2."""
    tasks = {1: opinions(1, (7, 0)), 2: opinions(2, (8, 1))}
    probs = {1: np.array([0.1, 0.9]), 2: np.array([0.2, 0.8])}
    trust = trust_in(tasks, probs)
    assert labeled_score(1, tasks[1], probs[1], trust).score == pytest.approx((0.2 + 0.5) / 3)
    assert unlabeled_score(np.array([0.6, 0.4]), trust) == pytest.approx((0.6 + 0.5) / 2)


def test_only_labeled_tasks_below_the_best_unlabeled_are_named_best_first() -> None:
    tasks = {n: opinions(n, (7, 0)) for n in (1, 2, 3)}
    probs = {1: np.array([0.3, 0.7]), 2: np.array([0.05, 0.95]), 3: np.array([0.99, 0.01])}
    found = second_opinions(tasks, probs, np.array([0.5, 0.5]))
    assert [each.task_id for each in found] == [2, 1]
    assert second_opinions(tasks, probs, None) == []


def test_several_labels_weigh_by_trust() -> None:
    """Two say 0 and the model 1: (0.5 * 0.3 + 2 * 0.9 + 1 * 0.5) / (0.5 + 2 + 1)."""
    trust = Trust(model=0.5, annotators={7: 1.0, 8: 1.0}, agreement=0.9)
    found = labeled_score(1, opinions(1, (7, 0), (8, 0)), np.array([0.3, 0.7]), trust)
    assert found.class_row == 0
    assert found.score == pytest.approx((0.15 + 1.8 + 0.5) / 3.5)


def test_an_annotator_whom_the_others_contradict_counts_less() -> None:
    tasks = {
        n: opinions(n, (7, n % 2), (8, n % 2), (9, (n % 2) if n < 4 else 1 - n % 2))
        for n in range(12)
    }
    probs = {n: np.eye(2)[n % 2] * 0.8 + 0.1 for n in range(12)}
    trust = trust_in(tasks, probs)
    assert trust.annotators[9] < trust.annotators[7] == trust.annotators[8]
    assert trust.agreement == pytest.approx((12 + 12 + 4) / 36)


def test_a_task_that_the_model_was_not_asked_about_is_left_out() -> None:
    tasks = {1: opinions(1, (7, 0)), 2: opinions(2, (7, 0))}
    found = second_opinions(tasks, {1: np.array([0.1, 0.9])}, np.array([0.9, 0.1]))
    assert [each.task_id for each in found] == [1]


def test_an_annotators_last_answer_counts_and_unknown_ones_are_different_people() -> None:
    given = opinions(1, (7, 0), (7, 1), (None, 0), (None, 1))
    assert [each.class_row for each in by_task(given)[1]] == [1, 0, 1]


def test_agreement_is_the_share_of_pairs_that_say_the_same() -> None:
    assert agreement_of(opinions(1, (7, 0))) == 1
    assert agreement_of(opinions(1, (7, 0), (8, 0), (9, 1))) == pytest.approx(1 / 3)
