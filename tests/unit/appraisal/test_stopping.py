"""Advice to stop needs two signs, and enough to measure on."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.appraisal.stopping import Bounded, gain_of_next, lacking, stability, verdict

FLAT = Bounded(0.002, 0.0, 0.006, 200)
STILL = Bounded(1.0, 0.995, 1.0, 900)


def curve(*shares: float, n: int = 1000) -> np.ndarray:
    return np.arange(n) < np.array(shares)[:, None] * n


def test_the_gain_of_an_exact_power_law_is_found() -> None:
    sizes_S = np.array([10, 50, 100, 200, 300, 400])
    shares = 0.95 - 1.5 * sizes_S**-0.5
    gain = gain_of_next(sizes_S, curve(*shares, n=20_000), rng=np.random.default_rng(0))
    assert gain is not None
    assert gain.value == pytest.approx(1.5 * (400**-0.5 - 500**-0.5), abs=0.002)
    assert gain.low <= gain.value <= gain.high


def test_a_curve_that_has_ended_promises_nothing_and_one_that_falls_no_loss() -> None:
    rng = np.random.default_rng(0)
    sizes_S = np.array([100, 200, 300, 400])
    flat = gain_of_next(sizes_S, curve(0.9, 0.9, 0.9, 0.9), rng=rng)
    falling = gain_of_next(sizes_S, curve(0.9, 0.8, 0.7, 0.6), rng=rng)
    assert flat is not None
    assert falling is not None
    assert flat.value == pytest.approx(0, abs=1e-3)
    assert falling.value == 0


def test_three_points_are_no_curve_and_how_it_began_does_not_count() -> None:
    sizes_S = np.array([10, 20, 300, 400, 500])
    assert (
        gain_of_next(sizes_S, curve(0.1, 0.2, 0.3, 0.3, 0.3), rng=np.random.default_rng(0)) is None
    )


def test_stability_is_kappa() -> None:
    """Equal in 3 of 4, by chance in half: (0.75 - 0.5) / 0.5."""
    found = stability(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 2)
    assert found is not None
    assert found.value == pytest.approx((0.75 - 0.5) / 0.5)
    assert found.low < found.value < found.high
    assert stability(np.array([0, 0]), np.array([0, 0]), 2) is None


def test_a_thousand_equal_answers_are_stable_and_a_hundred_say_too_little() -> None:
    half = np.arange(1000) % 2
    many, few = stability(half, half, 2), stability(half[:100], half[:100], 2)
    assert many is not None
    assert few is not None
    assert many.low > 0.99 > few.low


def test_stopping_is_advised_only_where_both_signs_say_so() -> None:
    assert verdict(FLAT, STILL, 200, [])[0] == "consider stopping"
    assert verdict(Bounded(0.01, 0.0, 0.03, 200), STILL, 200, [])[0] == "go on"
    assert verdict(FLAT, Bounded(0.99, 0.98, 1.0, 900), 200, [])[0] == "go on"
    assert verdict(FLAT, None, 200, [])[0] == "go on"
    lacks = lacking(("ant",), np.array([3]), [None])
    assert verdict(FLAT, STILL, 200, lacks)[0] == "go on"


def test_with_a_small_holdout_nothing_is_advised() -> None:
    said, sentence = verdict(FLAT, STILL, 30, [])
    assert said == "cannot tell yet"
    assert sentence.startswith("20 more audit labels")


def test_a_class_lacks_labels_where_it_has_few_or_is_seldom_found() -> None:
    found = lacking(("ant", "bee", "cow"), np.array([1, 50, 50]), [None, 0.3, 0.9])
    assert [(each.name, each.labels) for each in found] == [("ant", 1), ("bee", 50)]
    assert found[0].sentence == "Only 1 label of ant to learn from."
    assert "30 %" in found[1].sentence
    assert lacking(("ant",), np.array([0]), [None])[0].sentence == (
        "No label of ant to learn from."
    )
