"""Behind the head: turns between clusters, and what belongs to the tail."""

from __future__ import annotations

import numpy as np

from strategies import Candidates, Labeled, cluster_pool, rank
from strategies.order import priorities, turns


def test_turn_counts_within_the_cluster_along_the_wanted_order() -> None:
    clusters_R = np.array([0, 1, 0, 0, 1])
    by_want_R = np.array([3, 1, 0, 4, 2])
    assert turns(clusters_R, by_want_R).tolist() == [1, 0, 2, 0, 1]


def spread_pool(unsure: list[float]) -> Candidates:
    """Return tasks that are far from one another, with these margins."""
    n = len(unsure)
    p1 = 1 - np.array(unsure) / 2
    return Candidates(np.arange(n), np.stack([p1, 1 - p1], axis=1), np.eye(n, dtype=np.float32))


def test_body_takes_turns_between_clusters_the_most_unsure_first() -> None:
    pool = spread_pool([1.0, 0.9, 0.8, 0.7, 0.5, 0.4])
    ranking = rank(
        "iterative_proximity",
        pool,
        Labeled.none(6),
        head=1,
        rng=np.random.default_rng(0),
        clusters_N=np.array([0, 0, 0, 1, 1, 2]),
    )
    # Task 0 is the head. Cluster 0 has had a turn: its next waits for the first of 1 and of 2.
    assert ranking.order.tolist() == [0, 3, 5, 1, 4, 2]


def test_labeled_tasks_count_as_turns_of_their_cluster() -> None:
    pool = spread_pool([1.0, 0.9, 0.8, 0.7, 0.5, 0.4])
    assert pool.embeddings_ND is not None
    near_task_3 = pool.embeddings_ND[3:4] + 0.7 * pool.embeddings_ND[4:5]
    ranking = rank(
        "iterative_proximity",
        pool,
        Labeled(near_task_3, np.array([0])),
        head=1,
        rng=np.random.default_rng(0),
        clusters_N=np.array([0, 0, 0, 1, 1, 2]),
    )
    assert ranking.order.tolist() == [0, 5, 1, 3, 2, 4]


def test_tail_is_the_certain_and_then_copies_of_what_is_labeled() -> None:
    pool = spread_pool([1.0, 0.9, 0.01, 0.8, 0.7])
    assert pool.embeddings_ND is not None
    ranking = rank(
        "iterative_proximity",
        pool,
        Labeled(pool.embeddings_ND[1:2] * 5, np.array([0])),  # task 1, at another brightness
        head=1,
        rng=np.random.default_rng(0),
        clusters_N=np.arange(5),
    )
    assert ranking.order.tolist() == [0, 3, 4, 2, 1]


def test_priorities_fall_evenly_and_never_tie() -> None:
    assert priorities(5).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert (np.diff(priorities(1_000_000)) < 0).all()


def test_clusters_are_the_same_for_the_same_seed_and_join_what_is_alike() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 200)) * 4
    group_N = rng.integers(5, size=600)
    embeddings_ND = (centres[group_N] + rng.normal(size=(600, 200))).astype(np.float32)
    clusters_N = cluster_pool(embeddings_ND, np.random.default_rng(1))
    again_N = cluster_pool(embeddings_ND, np.random.default_rng(1))
    assert clusters_N.tolist() == again_N.tolist()
    assert all(len(set(group_N[clusters_N == c].tolist())) == 1 for c in np.unique(clusters_N))
