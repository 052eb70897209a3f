"""Confident learning: a label is suspected where the model is surer of another class than usual."""

from __future__ import annotations

import numpy as np

from ml_backend.appraisal.suspects import find_suspects


def test_the_thresholds_are_each_classs_own_mean() -> None:
    """Class 0 has 0.9, 0.7 and 0.2 of itself: 0.6. Class 1 has 0.8 and 0.4: 0.6."""
    probs_LC = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]])
    labels_L = np.array([0, 0, 0, 1, 1])
    found = find_suspects(probs_LC, labels_L)
    assert [each.row for each in found] == [2, 4]
    worst = found[0]
    assert (worst.suggested, worst.probability, worst.self_confidence) == (1, 0.8, 0.2)
    assert np.isclose(worst.score, (1 + 0.2 - 0.8) / 2)


def test_a_class_that_the_model_is_never_sure_of_is_not_accused() -> None:
    """The label is not the likeliest class, but that one is no likelier than its threshold."""
    probs_LC = np.array([[0.95, 0.05], [0.6, 0.4], [0.6, 0.4]])
    assert find_suspects(probs_LC, np.array([0, 1, 1])) == []


def test_a_class_without_labels_is_never_suggested() -> None:
    probs_LC = np.array([[0.1, 0.0, 0.9], [0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    assert all(each.suggested != 2 for each in find_suspects(probs_LC, np.array([0, 0, 1])))


def test_no_labels_no_suspects() -> None:
    assert find_suspects(np.empty((0, 3)), np.empty(0, np.int64)) == []
