"""The calibration error, and how much of it is chance."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.learning.calibration_error import CalibrationError, calibration_error


def error(confidence_H: np.ndarray, right_H: np.ndarray) -> CalibrationError:
    """Measure two classes, the first of which is always predicted."""
    probs_H2 = np.column_stack([confidence_H, 1 - confidence_H])
    found = calibration_error(probs_H2, np.where(right_H, 0, 1))
    assert found is not None
    return found


def test_success_below_confidence_is_the_difference() -> None:
    found = error(np.full(10, 0.9), np.arange(10) < 6)
    assert found.value == pytest.approx(0.3)
    assert found.bins == 1


def test_bins_are_weighted_by_their_labels() -> None:
    confidence_H = np.repeat([0.6, 0.9], [10, 20])
    right_H = np.concatenate([np.arange(10) < 8, np.arange(20) < 18])  # off by 0.2, and by 0
    found = error(confidence_H, right_H)
    assert found.bins == 2
    assert found.value == pytest.approx(10 / 30 * 0.2)


def test_errors_in_opposite_directions_do_not_cancel() -> None:
    confidence_H = np.repeat([0.6, 0.9], 10)
    right_H = np.concatenate([np.arange(10) < 8, np.arange(10) < 7])
    assert error(confidence_H, right_H).value == pytest.approx(0.2)


@pytest.mark.parametrize(("n", "bins"), [(5, 1), (19, 1), (40, 4), (150, 15), (3000, 15)])
def test_a_bin_holds_ten_labels_or_more(n: int, bins: int) -> None:
    confidence_H = np.linspace(0.5, 1, n)
    assert error(confidence_H, np.ones(n, bool)).bins == bins


def test_few_labels_show_an_error_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    confidence_H = rng.uniform(0.5, 1, 60)
    measured = [error(confidence_H, rng.random(60) < confidence_H) for _ in range(200)]
    mean = np.mean([each.value for each in measured])
    assert mean > 0.08  # perfectly calibrated, and yet
    assert measured[0].by_chance == pytest.approx(mean, abs=0.01)
    above = np.mean([each.value > each.by_chance_95 for each in measured])
    assert above < 0.1


def test_chance_shrinks_with_labels_and_a_true_error_stays() -> None:
    rng = np.random.default_rng(1)
    confidence_H = rng.uniform(0.7, 1, 10_000)
    found = error(confidence_H, rng.random(10_000) < confidence_H - 0.1)
    assert found.by_chance < 0.02
    assert found.value == pytest.approx(0.1, abs=0.02)


def test_rows_of_equal_confidence_share_a_bin_whatever_their_order() -> None:
    confidence_H = np.full(40, 0.75)
    right_H = np.arange(40) < 30
    assert error(confidence_H, right_H).value == pytest.approx(0)
    assert error(confidence_H, right_H).bins == 1


def test_without_labels_there_is_none() -> None:
    assert calibration_error(np.empty((0, 2)), np.empty(0, int)) is None
