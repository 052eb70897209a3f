"""Strategies by clusters: which task stands for each, and how a set becomes an order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Labeled, rank
from strategies.cluster_margin import round_robin
from strategies.dropquery import changed_guesses
from strategies.kmeans import fit_centres, nearest_to_centres, weighted_means
from strategies.typiclust import Cluster, cluster_turns, typicality


def groups(*sizes: int, dim: int = 8, spread: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Return tight groups along the axes, and the group of each row."""
    rng = np.random.default_rng(0)
    group_N = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(len(sizes), dim)[group_N] + spread * rng.normal(size=(len(group_N), dim))
    return points.astype(np.float32), group_N


def test_nearest_to_each_centre_is_one_of_each_group() -> None:
    points_ND, group_N = groups(30, 10, 20, 5)
    rows = nearest_to_centres(points_ND, 4, np.random.default_rng(0))
    assert sorted(group_N[rows].tolist()) == [0, 1, 2, 3]
    for row in rows:
        own = points_ND[group_N == group_N[row]]
        apart = np.linalg.norm(own - own.mean(axis=0), axis=1)
        chosen = np.linalg.norm(points_ND[row] - own.mean(axis=0))
        assert chosen == pytest.approx(apart.min(), abs=1e-5)


def test_mean_of_a_cluster_is_pulled_by_weights() -> None:
    points = np.array([[0.0], [4.0], [9.0]], np.float32)
    moved = weighted_means(
        points, np.array([0, 0, 1]), np.array([3.0, 1.0, 2.0]), np.zeros((3, 1), np.float32)
    )
    assert moved.tolist() == [[1.0], [9.0], [0.0]]  # (3 * 0 + 1 * 4) / 4; the last one is empty


def test_centres_of_a_sampled_pool_are_near_those_of_the_whole() -> None:
    points_ND, _ = groups(6000, 5000, 4000)  # more than are looked at
    centres = fit_centres(points_ND, 3, np.random.default_rng(0))
    order = centres[:, :3].argmax(axis=1)
    np.testing.assert_allclose(centres[np.argsort(order)], np.eye(3, 8), atol=0.02)


@pytest.mark.parametrize("name", ["kmeans", "weighted_kmeans", "dropquery"])
def test_picks_of_a_set_come_in_the_order_in_which_they_cover_the_pool(name: str) -> None:
    points_ND, group_N = groups(5, 40, 15)
    pool = Candidates(
        np.arange(60),
        np.full((60, 3), 1 / 3),
        points_ND,
        predict=lambda rows: rows[:, :3] * 0 + 1 / 3,
    )
    more = {"budget": 3} | ({"prefilter": 20} if name == "weighted_kmeans" else {})
    ranking = rank(name, pool, Labeled.none(8), head=3, rng=np.random.default_rng(0), **more)
    assert group_N[ranking.order[:3]].tolist() == [1, 2, 0]
    labeled = Labeled(points_ND[10:11], np.array([0]))  # one of the largest: it is no news now
    ranking = rank(name, pool, labeled, head=3, rng=np.random.default_rng(0), **more)
    assert group_N[ranking.order[:3]].tolist() == [2, 0, 1]


def test_weighted_kmeans_looks_at_the_unsure_only() -> None:
    points_ND, group_N = groups(40, 40)
    probs_NC = np.where(group_N[:, None] == 0, [[0.9, 0.1]], [[0.55, 0.45]])
    pool = Candidates(np.arange(80), probs_NC, points_ND)
    ranking = rank(
        "weighted_kmeans",
        pool,
        Labeled.none(8),
        head=4,
        rng=np.random.default_rng(0),
        budget=4,
    )
    assert set(group_N[ranking.order[:4]].tolist()) == {1}  # the 40 most unsure are its 40


# --- TypiClust


def test_typicality_is_one_over_the_mean_distance_to_those_that_count() -> None:
    near = np.array([[1.0, 2.0, 6.0], [0.5, 1.0, 1.0]])
    counts = np.array([[True, False, True], [True, True, True]])
    np.testing.assert_allclose(typicality(near, counts, 2), [1 / 3.5, 1 / 0.75], rtol=1e-4)
    np.testing.assert_allclose(typicality(near, counts, 1), [1.0, 2.0], rtol=1e-4)


def test_clusters_without_labels_come_first_then_the_large_and_never_the_tiny() -> None:
    sizes_K, labeled_K = np.array([9.0, 30.0, 5.0, 50.0]), np.array([0, 0, 0, 2])
    assert cluster_turns(sizes_K, labeled_K) == [1, 0, 3]
    assert cluster_turns(np.array([3.0, 5.0]), np.array([0, 0])) == [1, 0]  # nothing but tiny ones


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_picks_within_a_cluster_are_those_of_looking_around_each_time(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points_RD = rng.normal(size=(size, 4)).astype(np.float32)
    cluster = Cluster(points_RD, np.arange(size), rng)
    left = list(range(size))
    while left:
        members = points_RD[left].astype(np.float64)
        apart = np.linalg.norm(members[:, None] - members, axis=2)
        np.fill_diagonal(apart, np.inf)
        n = min(20, len(left) // 2)
        mean = np.sort(apart, axis=1)[:, :n].mean(axis=1) if n else np.zeros(1)
        pick = cluster.pick()
        assert mean[left.index(pick)] <= mean.min() * (1 + 1e-4)
        left.remove(pick)
    assert not cluster.open


def test_typiclust_takes_the_middle_of_the_largest_cluster_without_labels() -> None:
    points_ND, group_N = groups(40, 30, 20, spread=0.1)
    labeled = Labeled(points_ND[:1], np.array([0]))
    pool = Candidates(np.arange(1, 90), None, points_ND[1:])
    ranking = rank("typiclust", pool, labeled, head=2, rng=np.random.default_rng(0), budget=2)
    assert group_N[1:][ranking.order[:2]].tolist() == [1, 2]
    to_middle = np.linalg.norm(points_ND - np.eye(3, 8)[1], axis=1)[group_N == 1]
    picked = np.linalg.norm(points_ND[1:][ranking.order[0]] - np.eye(3, 8)[1])
    assert picked < np.median(to_middle)


# --- DropQuery


def test_guesses_that_hang_on_one_feature_change_when_features_are_left_out() -> None:
    def mean_sign(rows_KD: np.ndarray) -> np.ndarray:
        yes_K = 1 / (1 + np.exp(-20 * (rows_KD.mean(axis=1) - 0.2)))
        return np.stack([yes_K, 1 - yes_K], axis=1)

    fragile = np.zeros((50, 64))
    fragile[:, 0] = 64.0  # the row's mean is 1, all of it from one feature
    solid = np.ones((50, 64))
    # Their opposites bring the mean of each feature to zero.
    rows_ND = np.concatenate([fragile, solid, -fragile, -solid])
    pool = Candidates(np.arange(200), mean_sign(rows_ND), rows_ND, predict=mean_sign)
    changed_N = changed_guesses(pool, np.random.default_rng(0), samples=3, rate=0.75)
    assert changed_N[:50].mean() == pytest.approx(3 * 0.75, abs=0.4)
    assert changed_N[50:].sum() == 0


def test_several_labels_change_where_any_of_them_does() -> None:
    def first_or_none(rows_KD: np.ndarray) -> np.ndarray:
        return np.stack([rows_KD[:, 0] > 0, rows_KD[:, 0] < 0], axis=1) * 1.0

    rows_ND = np.tile([[1.0], [-1.0]], (100, 1))
    pool = Candidates(
        np.arange(200), first_or_none(rows_ND), rows_ND, predict=first_or_none, multi_label=True
    )
    changed_N = changed_guesses(pool, np.random.default_rng(0), samples=1, rate=0.75)
    assert changed_N.mean() == pytest.approx(0.75, abs=0.12)


# --- Cluster-Margin


def test_clusters_take_turns_the_smallest_first() -> None:
    clusters = np.array([5, 5, 5, 9, 9, 2])
    assert round_robin(clusters).tolist() == [5, 3, 0, 4, 1, 2]


def test_cluster_margin_picks_among_the_smallest_margins() -> None:
    rng = np.random.default_rng(0)
    likely_N = rng.permutation(np.linspace(0.51, 0.99, 200))
    pool = Candidates(
        np.arange(200), np.stack([likely_N, 1 - likely_N], axis=1), rng.normal(size=(200, 4))
    )
    ranking = rank("cluster_margin", pool, Labeled.none(4), head=5, rng=rng, budget=5)
    assert likely_N[ranking.order[:5]].max() <= np.sort(likely_N)[49]  # ten for each pick
