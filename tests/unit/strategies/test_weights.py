"""Class balance and the caller's weights reach every strategy."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.errors import ConfigurationError, UnrankableInput
from strategies import STRATEGIES, Candidates, Labeled, rank
from strategies.weights import rarity, task_weights
from tests.unit.strategies.pools import linear_head


def test_rarity_is_one_over_the_labels_of_the_likely_classes() -> None:
    labeled = Labeled(np.zeros((4, 2)), np.array([0, 0, 0, 1]))
    probs_NC = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    # 3 and 1 labels, one added: 1/4 and 1/2.
    np.testing.assert_allclose(rarity(probs_NC, labeled, 1.0), [0.25, 0.5, 0.375])
    np.testing.assert_allclose(rarity(probs_NC, labeled, 2.0), [1 / 16, 0.25, 5 / 32])


def test_with_several_labels_a_task_has_the_mean_rarity_of_its_classes() -> None:
    labeled = Labeled(np.zeros((3, 2)), np.array([[1, 0], [1, 1], [1, 0]]))  # 3 and 1
    probs_NC = np.array([[1.0, 1.0], [0.0, 0.0], [0.1, 0.3]])
    np.testing.assert_allclose(rarity(probs_NC, labeled, 1.0), [0.375, 0.375, 0.4375])


def test_weights_of_the_caller_and_of_the_classes_multiply() -> None:
    labeled = Labeled(np.zeros((4, 2)), np.array([0, 0, 0, 1]))
    pool = Candidates(np.arange(2), np.eye(2), None, weights_N=np.array([4.0, 1.0]))
    weights_N = task_weights(pool, labeled, 1.0)
    assert weights_N is not None
    np.testing.assert_allclose(weights_N, [1.0, 0.5])  # 4/4 against 1/2, the largest 1
    assert task_weights(Candidates(np.arange(2), np.eye(2), None), labeled, 0.0) is None


def two_alike_halves() -> tuple[Candidates, np.ndarray]:
    """Return a pool whose even rows are of one class and whose odd rows are of another."""
    rng = np.random.default_rng(0)
    class_N = np.arange(240) % 2
    embeddings_ND = rng.normal(size=(240, 6))
    likely_N = rng.uniform(0.55, 0.95, size=240)
    probs_NC = np.stack([likely_N, 1 - likely_N], axis=1)
    probs_NC[class_N == 1] = probs_NC[class_N == 1][:, ::-1]
    pool = Candidates(np.arange(240), probs_NC, embeddings_ND, predict=linear_head(6, 2))
    return pool, class_N


@pytest.mark.parametrize("name", STRATEGIES)
def test_classes_with_few_labels_come_sooner_under_every_strategy(name: str) -> None:
    pool, class_N = two_alike_halves()
    rng = np.random.default_rng(1)
    labeled = Labeled(rng.normal(size=(30, 6)), np.array([0] * 29 + [1]))
    special: dict[str, dict[str, object]] = {
        "similar": {"examples_KD": rng.normal(size=(3, 6))},  # else classes take turns anyway
        "cluster_margin": {"budget": 10},  # else it may choose among the whole of this pool
    }
    more = special.get(name, {})

    def share_of_the_rare(class_balance: float) -> float:
        heads = [
            rank(
                name,
                pool,
                labeled,
                head=20,
                rng=np.random.default_rng(seed),
                class_balance=class_balance,
                **more,
            ).order[:20]
            for seed in range(3)
        ]
        return float(class_N[np.concatenate(heads)].mean())

    assert share_of_the_rare(1.0) >= share_of_the_rare(0.0) + 0.1


def test_impossible_weights_are_refused() -> None:
    for weights in (np.ones(3), np.array([1.0, 0.0]), np.array([1.0, np.nan])):
        with pytest.raises(UnrankableInput, match="weights_N"):
            Candidates(np.arange(2), np.eye(2), None, weights_N=weights)
    pool = Candidates(np.arange(2), np.eye(2), None)
    with pytest.raises(ConfigurationError, match="class_balance=-1"):
        rank("margin", pool, Labeled.none(), rng=np.random.default_rng(0), class_balance=-1)
