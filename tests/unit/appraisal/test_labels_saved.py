"""A saving is told where it is measured, and not where chance would do as well."""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ml_backend.appraisal.curves import RandomArm
from ml_backend.appraisal.labels_saved import CANNOT_TELL, MEASURED, more_audit_labels, told
from ml_backend.appraisal.saving import Saving, compare, reaching, rising

SIZES = np.array([10, 20, 40, 80])


def right(*shares: float, n: int = 200) -> np.ndarray:
    """Return images got right, these shares of them: the easy ones are always the same."""
    return np.arange(n) < np.array(shares)[:, None] * n


def arm(share: float, n_labels: int = 40, n: int = 200) -> RandomArm:
    return RandomArm(n_labels, np.where(np.arange(n) < share * n, 1.0, 0.0), 0.0)


def test_a_curve_that_falls_is_evened_out_as_isotonic_regression_does() -> None:
    values_BS = np.random.default_rng(0).normal(size=(40, 9)).cumsum(axis=1)
    expected = [IsotonicRegression().fit_transform(np.arange(9), each) for each in values_BS]
    assert np.allclose(rising(values_BS), expected)


def test_where_a_curve_is_reached_lies_between_sizes_by_their_factor() -> None:
    gap_BS = np.array([[-1, -1, 1, 2], [1, 2, 3, 4], [-4, -3, -2, -1]], float)
    halfway, at_once, never = reaching(SIZES, gap_BS)
    assert np.isclose(halfway, np.sqrt(20 * 40))
    assert np.isclose(at_once, 10)
    assert np.isinf(never)


def test_a_queue_that_is_clearly_ahead_has_saved_labels() -> None:
    rng = np.random.default_rng(0)
    saving = compare(SIZES, right(0.5, 0.8, 0.9, 0.95), arm(0.75), rng=rng)
    found = told(saving, 200)
    assert found["state"] == MEASURED
    assert found["low"] <= found["value"] <= found["high"]
    assert found["low"] > 0
    assert found["queue_labels"] + found["value"] == found["random_labels"] == 40
    assert "labels saved" in found["sentence"]
    assert found["more_audit_labels"] is None


def test_a_queue_that_is_clearly_behind_is_told_so() -> None:
    rng = np.random.default_rng(0)
    found = told(compare(SIZES, right(0.1, 0.2, 0.5, 0.9), arm(0.75), rng=rng), 200)
    assert found["state"] == MEASURED
    assert found["value"] < 0
    assert "more than a random order needs" in found["sentence"]


def test_a_queue_that_does_what_random_does_says_that_it_cannot_tell() -> None:
    rng = np.random.default_rng(0)
    noisy = rng.random((4, 60)) < np.array([0.4, 0.6, 0.75, 0.8])[:, None]
    random = RandomArm(40, (rng.random(60) < 0.75).astype(float), 0.001)
    found = told(compare(SIZES, noisy, random, rng=rng), 60)
    assert found["state"] == CANNOT_TELL
    assert "cannot be told from chance" in found["sentence"]


def test_luck_of_the_arm_widens_the_interval() -> None:
    right_SH = right(0.5, 0.7, 0.8, 0.9)
    widths = []
    for variance in (0.0, 0.01):
        lucky = RandomArm(40, arm(0.75).right_H, variance)
        saving = compare(SIZES, right_SH, lucky, rng=np.random.default_rng(0))
        widths.append((saving.high or np.inf) - (saving.low or 0))
    assert widths[1] > widths[0]


def test_an_accuracy_that_the_queue_never_reaches_has_no_number() -> None:
    saving = compare(SIZES, right(0.1, 0.2, 0.3, 0.4), arm(0.9), rng=np.random.default_rng(0))
    found = told(saving, 200)
    assert found["value"] is None
    assert found["low"] is None
    assert found["state"] == CANNOT_TELL


def test_four_times_the_audit_labels_halve_the_error() -> None:
    assert more_audit_labels(1.959964 / 2, 50) == 150
    assert more_audit_labels(0.1, 50) is None  # nobody labels twenty times the audit
    assert more_audit_labels(3.0, 50) == 5  # the interval says no where the difference says yes


def test_bounds_are_told_where_nothing_is_claimed() -> None:
    found = told(Saving(40, 0.8, 30.0, 15.0, 60.0, 1.0), 80)
    assert (found["value"], found["low"], found["high"]) == (10, -20, 25)
    assert found["state"] == CANNOT_TELL
