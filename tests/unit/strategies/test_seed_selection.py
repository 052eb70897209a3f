"""The seed's selections: iterative proximity and clustering, against a pencil and a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Labeled, rank
from strategies.clustering import largest_remainder
from strategies.proximity import spread, z_scores
from tests.unit.strategies.pools import blobs


def test_z_scores_and_spread_by_pencil() -> None:
    np.testing.assert_allclose(z_scores(np.array([0.0, 2.0])), [-1, 1])
    np.testing.assert_allclose(spread(np.array([1.0, 3.0, 2.0]), 0.3), [-0.3, 0.3, 0.0], atol=1e-12)


def test_no_spread_changes_nothing() -> None:
    assert z_scores(np.array([0.4, 0.4])).tolist() == [0, 0]
    assert spread(np.array([0.4, 0.4]), 0.3).tolist() == [0, 0]


def naive_proximity(unsure_N: np.ndarray, embeddings_ND: np.ndarray, n: int) -> list[int]:
    """Follow the description word by word, with a loop for everything."""
    scores = (unsure_N - unsure_N.mean()) / unsure_N.std()
    picked: list[int] = []
    while len(picked) < n:
        total = scores.astype(float).copy()
        if picked:
            centroid = embeddings_ND[picked].mean(axis=0)
            distances = np.array([np.linalg.norm(row - centroid) for row in embeddings_ND])
            scaled = (distances - distances.min()) / (distances.max() - distances.min())
            total += -0.3 + 0.6 * scaled
        total[picked] = -1000
        picked += np.argsort(-total, kind="stable")[: min(10, n - len(picked))].tolist()
    return picked


@pytest.mark.parametrize("seed", range(5))
def test_iterative_proximity_is_the_seed_s(seed: int) -> None:
    candidates, labeled = blobs(120, seed=seed)
    ranking = rank(
        "iterative_proximity", candidates, labeled, head=47, rng=np.random.default_rng(0)
    )
    assert ranking.uncertainty_N is not None
    assert candidates.embeddings_ND is not None
    expected = naive_proximity(ranking.uncertainty_N, candidates.embeddings_ND, 47)
    assert ranking.order[:47].tolist() == expected


def test_far_from_the_picks_comes_first_among_the_equally_unsure() -> None:
    # Task 0 is the most unsure; 1 and 2 tie, and 2 lies farther from 0.
    probs_NC = np.array([[0.5, 0.5], [0.7, 0.3], [0.7, 0.3], [0.9, 0.1]])
    embeddings_ND = np.array([[0.0], [1.0], [9.0], [5.0]])
    ranking = rank(
        "iterative_proximity",
        Candidates(np.arange(4), probs_NC, embeddings_ND),
        Labeled.none(1),
        head=4,
        rng=np.random.default_rng(0),
        mini_batch=1,
    )
    assert ranking.order.tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("sizes", "n", "shares"),
    [
        ([5, 3, 2], 10, [5, 3, 2]),
        ([50, 30, 20], 10, [5, 3, 2]),
        ([1, 1, 1], 2, [1, 1, 0]),  # a tie: the first ones
        ([7, 2, 1], 3, [2, 1, 0]),  # 2.1, 0.6, 0.3: the largest remainder is 0.6
        ([0, 4], 3, [0, 3]),
        ([3, 3], 100, [3, 3]),
        ([4, 4], 0, [0, 0]),
        ([], 5, []),
    ],
)
def test_largest_remainder_by_pencil(sizes: list[int], n: int, shares: list[int]) -> None:
    assert largest_remainder(np.array(sizes, dtype=np.int64), n).tolist() == shares


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=8), n=st.integers(0, 3000))
def test_largest_remainder_gives_exactly_n_and_never_more_than_there_is(
    sizes: list[int], n: int
) -> None:
    shares = largest_remainder(np.array(sizes, dtype=np.int64), n)
    assert shares.sum() == min(n, sum(sizes))
    assert (shares <= sizes).all()
    if n <= sum(sizes) and sum(sizes):
        assert (np.abs(shares - np.array(sizes) * n / sum(sizes)) < 1).all()


def test_clustering_shares_by_size_and_takes_the_most_unsure_of_each() -> None:
    # Six tasks at 0, three at 100: of three picks, two and one.
    embeddings_ND = np.array([[0.0]] * 6 + [[100.0]] * 3)
    p1 = np.array([0.9, 0.8, 0.7, 0.6, 0.95, 0.99, 0.98, 0.97, 0.96])
    ranking = rank(
        "clustering",
        Candidates(np.arange(9), np.stack([p1, 1 - p1], axis=1), embeddings_ND),
        Labeled.none(1),
        head=3,
        rng=np.random.default_rng(0),
        k=2,
        batch=3,
    )
    assert ranking.order[:3].tolist() == [3, 2, 8]


def test_more_clusters_than_distinct_points_is_fine() -> None:
    probs_NC = np.full((5, 2), 0.5)
    pool = Candidates(np.arange(5), probs_NC, np.ones((5, 3)))
    ranking = rank("clustering", pool, Labeled.none(3), rng=np.random.default_rng(0), k=4)
    assert sorted(ranking.order.tolist()) == [0, 1, 2, 3, 4]
