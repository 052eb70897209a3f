"""The arithmetic of a simulation, by pencil."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.simulation.measures import (
    aulc,
    compared,
    estimate,
    holm,
    labels_to_reach,
    paired_p,
    share,
)


def test_area_is_the_mean_accuracy_over_log_labels() -> None:
    assert aulc([10, 100, 1000], [0.6, 0.6, 0.6]) == pytest.approx(0.6)
    assert aulc([10, 100, 1000], [0.0, 0.5, 1.0]) == pytest.approx(0.5)
    assert aulc([1, 10, 1000], [0.0, 1.0, 1.0]) == pytest.approx((0.5 * 1 + 1.0 * 2) / 3)


def test_labels_to_reach_lie_on_the_line_between_two_budgets() -> None:
    assert labels_to_reach([10, 20, 40], [0.2, 0.4, 0.8], 0.6) == pytest.approx(30)
    assert labels_to_reach([10, 20, 40], [0.2, 0.4, 0.8], 0.4) == pytest.approx(20)
    assert labels_to_reach([10, 20, 40], [0.2, 0.4, 0.8], 0.1) == 10
    assert labels_to_reach([10, 20, 40], [0.2, 0.4, 0.8], 0.9) is None


def test_the_first_time_counts_where_a_curve_falls_again() -> None:
    assert labels_to_reach([10, 20, 30, 40], [0.2, 0.6, 0.4, 0.9], 0.5) == pytest.approx(17.5)


def test_an_estimate_has_student_s_interval() -> None:
    each = estimate([1.0, 2.0, 3.0])
    half = 4.3027 * 1 / 3**0.5  # two degrees of freedom, standard deviation 1
    assert each.mean == pytest.approx(2)
    assert (each.low, each.high) == pytest.approx((2 - half, 2 + half), abs=1e-3)
    assert (estimate([0.5]).low, estimate([0.5]).high) == (None, None)


def test_a_share_s_interval_stays_between_nothing_and_all() -> None:
    each = share([0.1, 0.9])
    assert (each.mean, each.low, each.high) == (0.5, 0.0, 1.0)
    assert share([0.5]).low is None


def test_the_paired_test_is_student_s() -> None:
    assert paired_p(np.array([1.0, 2.0])) == pytest.approx(0.2048, abs=1e-3)  # t = 3, one degree
    assert paired_p(np.array([0.5])) == 1.0
    assert paired_p(np.zeros(4)) == 1.0
    assert paired_p(np.full(4, 0.25)) == 0.0


def test_holm_multiplies_the_smallest_most_and_never_falls() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.5})
    assert adjusted == pytest.approx({"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.5})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_better_and_worse_are_told_after_the_correction() -> None:
    random = [0.50, 0.52, 0.48, 0.51, 0.49]
    told = compared(
        {
            "better": ([0.61, 0.62, 0.59, 0.60, 0.60], random),
            "worse": ([0.40, 0.41, 0.39, 0.40, 0.40], random),
            "noise": ([0.52, 0.50, 0.49, 0.49, 0.51], random),
        }
    )
    assert told["better"].is_better
    assert not told["better"].is_worse
    assert told["better"].wins == 5
    assert told["worse"].is_worse
    assert not told["noise"].is_better
    assert not told["noise"].is_worse
    assert told["better"].p_holm >= told["better"].p
    low, high = told["better"].bootstrap
    assert told["better"].difference.low < low < told["better"].difference.mean < high


def test_samples_of_different_lengths_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="2 seeds against 1"):
        compared({"short": ([0.1, 0.2], [0.1])})
