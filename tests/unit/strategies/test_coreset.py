"""k-center and marginal relevance: picks in batches are those of one look at the pool per pick."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Labeled, rank
from strategies.closeness import closest_to, falling_greedy
from strategies.coreset import k_center
from strategies.positions import directions
from strategies.query import Query


def naive_k_center(
    points_ND: np.ndarray, taken_MD: np.ndarray, n: int, weights_N: np.ndarray
) -> list[int]:
    """Compute every distance anew for every pick."""
    picks: list[int] = []
    if not len(taken_MD):
        to_mean_N = ((points_ND - points_ND.mean(axis=0)) ** 2).sum(axis=1)
        picks.append(int(to_mean_N.argmin()))
    while len(picks) < n:
        taken = np.concatenate([taken_MD, points_ND[picks]])
        apart_N = ((points_ND[:, None] - taken) ** 2).sum(axis=2).min(axis=1) * weights_N**2
        if apart_N.max() <= 0:
            break
        picks.append(int(apart_N.argmax()))
    return picks


@settings(max_examples=80, deadline=None)
@given(
    size=st.integers(1, 40),
    dim=st.integers(1, 4),
    taken=st.integers(0, 3),
    n=st.integers(1, 45),
    at_once=st.integers(1, 12),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_batches_of_picks_are_those_of_plain_k_center(
    size: int, dim: int, taken: int, n: int, at_once: int, weighted: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: sums are exact, and there are many ties and copies.
    points_ND = rng.integers(-4, 5, size=(size, dim)).astype(np.float32)
    taken_MD = rng.integers(-4, 5, size=(taken, dim)).astype(np.float32)
    if not taken:  # the mean is not a whole number; let it be exact
        points_ND = np.concatenate([points_ND, -points_ND])
    weights_N = rng.choice([0.25, 0.5, 1.0], size=len(points_ND)) if weighted else None
    plain = naive_k_center(
        points_ND, taken_MD, n, np.ones(len(points_ND)) if weights_N is None else weights_N
    )
    picks = k_center(points_ND, taken_MD, n, weights_N, at_once=at_once)
    assert picks.tolist() == plain[:n]


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 30),
    n=st.integers(1, 30),
    at_once=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_batches_of_picks_are_those_of_plain_marginal_relevance(
    size: int, n: int, at_once: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Halves and quarters: products and sums are exact in any order.
    points_ND = rng.choice([-0.5, 0.5], size=(size, 4)).astype(np.float32)
    unsure_N = rng.integers(0, 9, size=size) / 8
    plain: list[int] = []
    while len(plain) < min(n, size):
        close = points_ND @ points_ND[plain].T
        closest_N = close.max(axis=1) if plain else np.full(size, -1.0)
        wanted_N = 0.5 * unsure_N - 0.25 * (1 + closest_N)
        wanted_N[plain] = -np.inf
        plain.append(int(wanted_N.argmax()))
    picks = falling_greedy(
        points_ND,
        np.zeros(size, np.float32),
        closest_to(points_ND, points_ND[:0], np.zeros(0, np.float32)),
        lambda rows, closest: 0.5 * unsure_N[rows] - 0.25 * (1 + np.maximum(closest, -1)),
        n,
        at_once=at_once,
    )
    assert picks.tolist() == plain


def test_coreset_goes_to_the_far_corner_first() -> None:
    line = np.array([[0.0], [1.0], [2.0], [10.0]], np.float32)
    # 10 is 9 away from the taken 1; then 0 and 2 are 1 away each, and the lower row comes first.
    assert k_center(line, np.array([[1.0]], np.float32), 3).tolist() == [3, 0, 2]


def test_radius_is_at_most_twice_that_of_any_centres() -> None:
    rng = np.random.default_rng(0)
    points_ND = rng.normal(size=(60, 3)).astype(np.float32)
    none_taken = np.empty((0, 3), np.float32)

    def radius(rows: np.ndarray) -> float:
        return float(np.linalg.norm(points_ND[:, None] - points_ND[rows], axis=2).min(1).max())

    ours = radius(k_center(points_ND, none_taken, 6))
    best = min(radius(rng.choice(60, 6, replace=False)) for _ in range(3000))
    assert ours <= 2 * best


def test_directions_in_blocks_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    embeddings_ND = rng.normal(size=(5000, 3)) + 2  # more rows than a block
    labeled = Labeled(embeddings_ND[:4], np.arange(4))
    query = Query(Candidates(np.arange(5000), None, embeddings_ND), labeled, 1, rng)
    pool_ND, labeled_MD = directions(query)
    np.testing.assert_allclose(np.linalg.norm(pool_ND, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(pool_ND[:4], labeled_MD, atol=1e-6)


def test_relevance_alone_is_the_order_of_uncertainty() -> None:
    rng = np.random.default_rng(0)
    pool = Candidates(np.arange(30), rng.dirichlet(np.ones(3), size=30), rng.normal(size=(30, 4)))
    labeled = Labeled.none(4)
    by_mmr = rank("mmr", pool, labeled, head=30, rng=rng, relevance=1.0)
    by_margin = rank("margin", pool, labeled, head=30, rng=rng)
    assert by_mmr.order.tolist() == by_margin.order.tolist()
