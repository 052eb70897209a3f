"""BADGE: factored distances are those of the gradients, and draws are those of k-means++."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Labeled, rank
from strategies.badge import guess_errors
from strategies.seeding import OuterProducts, plus_plus, vectors
from tests.unit.strategies.pools import some_probs


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 12),
    n_classes=st.integers(1, 5),
    dim=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_factored_distances_are_those_of_explicit_gradients(
    size: int, n_classes: int, dim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    probs_NC = some_probs(size, n_classes, rng)
    inputs_ND = rng.normal(size=(size, dim)).astype(np.float32)
    onehot_NC = np.eye(n_classes)[probs_NC.argmax(axis=1)]
    gradients_NG = np.einsum("nc,nd->ncd", probs_NC - onehot_NC, inputs_ND).reshape(size, -1)
    explicit_NN = ((gradients_NG[:, None] - gradients_NG) ** 2).sum(axis=2)
    ours = OuterProducts.of(guess_errors(probs_NC, multi_label=False), inputs_ND)
    scale = max(1.0, float(ours.squares_N.max()))
    np.testing.assert_allclose(ours.squared_distances(ours), explicit_NN, atol=3e-5 * scale)


def test_each_label_is_guessed_by_itself_where_there_can_be_several() -> None:
    errors = guess_errors(np.array([[0.75, 0.5, 0.25]]), multi_label=True)
    assert errors.tolist() == [[-0.25, -0.5, 0.25]]


LINE_ND = np.array([[4.0], [0.0], [1.0], [3.0]], np.float32)


@pytest.mark.parametrize("fewest_kept", [0.0, 0.5, 1.01], ids=["stale", "now and then", "fresh"])
def test_draws_follow_the_squared_distance_to_the_nearest_pick(fewest_kept: float) -> None:
    # From 4, the others lie 16, 9 and 1 away (squared): that is how often each comes second.
    # With 0 second, the squared distances of 1 and 3 are 1 each; with 1 second, 0 and 3: 1 and 1;
    # with 3 second, 0 and 1: 9 and 4.
    expected = {
        (1, 2): 16 / 26 / 2,
        (1, 3): 16 / 26 / 2,
        (2, 1): 9 / 26 / 2,
        (2, 3): 9 / 26 / 2,
        (3, 1): 1 / 26 * 9 / 13,
        (3, 2): 1 / 26 * 4 / 13,
    }
    runs = 4000
    rng = np.random.default_rng(0)
    drawn = Counter(
        tuple(plus_plus(vectors(LINE_ND), 3, rng, fewest_kept=fewest_kept)[1:].tolist())
        for _ in range(runs)
    )
    assert set(drawn) <= set(expected)
    for pair, share in expected.items():
        error = np.sqrt(share * (1 - share) / runs)
        assert abs(drawn[pair] / runs - share) < 4 * error


def test_weights_multiply_the_squared_distances() -> None:
    weights_N = np.array([1.0, 1 / 16, 1 / 9, 1.0])  # from 4: 1, 1 and 1
    rng = np.random.default_rng(0)
    second = Counter(int(plus_plus(vectors(LINE_ND), 2, rng, weights_N)[1]) for _ in range(3000))
    for row in (1, 2, 3):
        assert abs(second[row] / 3000 - 1 / 3) < 4 * np.sqrt(2 / 9 / 3000)


def test_copies_are_never_drawn_again() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(7, 16)).astype(np.float32), 9, axis=0)
    picks = plus_plus(vectors(points), 63, rng)
    assert sorted(picks // 9) == list(range(7))


def test_largest_gradient_comes_first() -> None:
    probs_NC = np.array([[0.9, 0.1], [0.55, 0.45], [0.7, 0.3]])
    pool = Candidates(np.arange(3), probs_NC, np.eye(3))
    ranking = rank("badge", pool, Labeled.none(3), head=1, rng=np.random.default_rng(0))
    assert ranking.order[0] == 1


def test_nothing_is_drawn_where_the_model_is_sure_of_everything() -> None:
    pool = OuterProducts.of(np.zeros((5, 2), np.float32), np.ones((5, 3), np.float32))
    assert plus_plus(pool, 3, np.random.default_rng(0)).size == 0
