"""A label is suspected where the model gives it less than an error would."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.appraisal.suspects import LEAST_SUSPECTED, find_suspects, wrong_probability


def test_the_probability_of_an_error_is_bayes() -> None:
    """Two classes; 19 labels that are sure to be right and one that is sure to be wrong.

    One in twenty is wrong, so at 0.05 itself it is as likely wrong as 0.0475 to 0.0475.
    """
    own_L = np.array([1.0] * 19 + [0.0])
    wrong_L, share = wrong_probability(own_L, 2)
    assert wrong_L == pytest.approx(1.0 - own_L)
    assert share == pytest.approx(0.05)
    even_L = np.concatenate([np.tile(own_L, 500), [0.05]])
    assert wrong_probability(even_L, 2)[0][-1] == pytest.approx(0.5, abs=0.01)


def test_what_the_model_is_merely_unsure_of_is_not_accused() -> None:
    """Of labels at 0.4 as many are right as the model says."""
    probs_LC = np.tile([[0.6, 0.4]], (40, 1))
    assert find_suspects(probs_LC, np.repeat([0, 1], [24, 16])) == []


def test_suspects_come_worst_first_with_the_likeliest_other_class() -> None:
    probs_LC = np.tile([[0.98, 0.01, 0.01]], (60, 1))
    probs_LC[7] = [0.001, 0.009, 0.99]
    probs_LC[9] = [0.0001, 0.9899, 0.01]
    found = find_suspects(probs_LC, np.zeros(60, np.int64))
    assert [(each.row, each.suggested) for each in found] == [(9, 1), (7, 2)]
    assert found[1].probability == pytest.approx(0.99)
    assert found[1].self_confidence == pytest.approx(0.001)
    assert found[0].wrong > found[1].wrong >= LEAST_SUSPECTED


def test_without_labels_or_without_another_class_there_are_no_suspects() -> None:
    assert find_suspects(np.ones((9, 1)), np.zeros(9, np.int64)) == []
    assert find_suspects(np.empty((0, 3)), np.empty(0, np.int64)) == []
