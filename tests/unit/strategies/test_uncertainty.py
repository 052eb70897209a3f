"""The three uncertainties, with values that a pencil can check."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import UNCERTAINTIES, Candidates, Labeled, rank

PROBS_NC = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("least_confidence", [0.75, 0.0, 1.0, 0.75]),  # (1 - p1) * 3/2
        ("margin", [0.8, 0.0, 1.0, 1.0]),  # 1 - (p1 - p2)
        ("entropy", [0.9372, 0.0, 1.0, 0.6309]),  # the last: log 2 / log 3
    ],
)
def test_formula(name: str, expected: list[float]) -> None:
    np.testing.assert_allclose(UNCERTAINTIES[name](PROBS_NC), expected, atol=1e-4)


@pytest.mark.parametrize("name", UNCERTAINTIES)
def test_stays_between_zero_and_one_and_leaves_its_input_alone(name: str) -> None:
    probs_NC = np.random.default_rng(0).dirichlet([0.05] * 7, size=500).astype(np.float32)
    before = probs_NC.copy()
    values_N = UNCERTAINTIES[name](probs_NC)
    assert values_N.min() >= 0
    assert values_N.max() <= 1
    np.testing.assert_array_equal(probs_NC, before)


@pytest.mark.parametrize("name", UNCERTAINTIES)
def test_is_the_same_order_for_two_classes(name: str) -> None:
    probs_NC = np.array([[0.9, 0.1], [0.55, 0.45], [0.3, 0.7], [1.0, 0.0]])
    assert np.argsort(-UNCERTAINTIES[name](probs_NC)).tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("least_confidence", [2, 0, 3, 1]),  # rows 0 and 3 tie: the lower task id first
        ("margin", [2, 3, 0, 1]),
        ("entropy", [2, 0, 3, 1]),
    ],
)
def test_ranking_by_it_puts_the_most_unsure_first(name: str, order: list[int]) -> None:
    pool = Candidates(np.arange(4), PROBS_NC, None)
    ranking = rank(name, pool, Labeled.none(), rng=np.random.default_rng(0))
    assert ranking.order.tolist() == order


def test_reason_names_the_two_classes_that_compete() -> None:
    pool = Candidates(np.arange(4), PROBS_NC, None)
    ranking = rank("margin", pool, Labeled.none(), head=3, rng=np.random.default_rng(0))
    assert ranking.reasons[2].text(["cat", "dog", "ox"]) == (
        "The model hesitates between cat (50 %) and dog (30 %)."
    )
