"""Herding: the formula, lazy against plain greedy, and the width of the kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Labeled, rank
from strategies.geometry import Directions, gaussian, unit_rows
from strategies.herding import coverage, gain, kernel_width, lazy_greedy
from tests.unit.strategies.pools import blobs


def plain_greedy(
    similarity_KL: np.ndarray, weights_L: np.ndarray, covered_L: np.ndarray, n: int
) -> list[int]:
    """Compute every gain anew for every pick."""
    picks: list[int] = []
    covered_L = covered_L.copy()
    for _ in range(min(n, len(similarity_KL))):
        gains = [
            -1.0 if k in picks else gain(row, weights_L, covered_L)
            for k, row in enumerate(similarity_KL)
        ]
        if max(gains) <= 1e-6 * weights_L.sum():
            break
        picks.append(int(np.argmax(gains)))
        covered_L = np.maximum(covered_L, similarity_KL[picks[-1]])
    return picks


@settings(max_examples=60, deadline=None)
@given(
    k=st.integers(1, 25),
    landmarks=st.integers(1, 25),
    n=st.integers(1, 30),
    copies=st.booleans(),
    share_alike=st.sampled_from([0.2, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_lazy_greedy_picks_what_plain_greedy_picks(
    k: int, landmarks: int, n: int, copies: bool, share_alike: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    similarity_KL = rng.random((k, landmarks), dtype=np.float32)
    # Where few are alike, a pick leaves most other gains as they were: bounds have to be tight.
    similarity_KL *= rng.random((k, landmarks)) < share_alike
    if copies:  # ties, and rows that gain nothing any more
        similarity_KL = similarity_KL[rng.integers(k, size=k)]
    weights_L = rng.random(landmarks, dtype=np.float32)
    covered_L = rng.random(landmarks, dtype=np.float32) * 0.5
    picks, gains = lazy_greedy(similarity_KL, weights_L, covered_L, n)
    assert picks.tolist() == plain_greedy(similarity_KL, weights_L, covered_L, n)
    assert (np.diff(gains) <= 1e-6).all()  # what is left to gain only shrinks


def test_gain_is_the_weighted_new_coverage() -> None:
    similarity_L = np.array([1.0, 0.5, 0.25], np.float32)
    covered_L = np.array([0.5, 0.75, 0.0], np.float32)
    weights_L = np.array([2.0, 1.0, 4.0], np.float32)
    assert gain(similarity_L, weights_L, covered_L) == 2 * 0.5 + 1 * 0 + 4 * 0.25


def test_kernel_is_one_at_home_and_falls_with_the_distance() -> None:
    corners = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    # squared distances 0, 2 and 4 from the first corner
    np.testing.assert_allclose(gaussian(corners[:1], corners, 1.0)[0], np.exp([0, -2, -4.0]), 1e-6)
    np.testing.assert_allclose(
        gaussian(corners[:1], corners, 2.0)[0], np.exp([0, -0.5, -1.0]), 1e-6
    )


def test_coverage_is_that_of_the_most_alike() -> None:
    corners = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    np.testing.assert_allclose(coverage(corners, corners[:2], 1.0), [1, 1, np.exp(-2)], 1e-6)
    assert coverage(corners, corners[:0], 1.0).tolist() == [0, 0, 0]


def test_width_is_one_without_labels_and_clipped_with_them() -> None:
    assert kernel_width(np.empty((0, 2), np.float32)) == 1.0
    assert kernel_width(np.array([[1, 0]], np.float32)) == 1.0
    twice_the_same = np.array([[1, 0], [1, 0]], np.float32)
    assert kernel_width(twice_the_same) == 0.5
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    assert kernel_width(opposite) == 1.0
    close = np.array([[1, 0], [0.8, 0.6]], np.float32)  # sqrt(0.04 + 0.36)
    assert kernel_width(close) == pytest.approx(0.6325, abs=1e-3)


def test_directions_do_not_depend_on_the_scale_of_an_embedding() -> None:
    rng = np.random.default_rng(0)
    some = rng.random((20, 5), dtype=np.float32)
    none = np.empty((0, 5), np.float32)
    one = Directions.around(some, none, 20).of(some)
    other = Directions.around(some * 1e-20, none, 20).of(some * 1e-20)
    np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1.0, atol=1e-5)


def test_what_all_images_share_is_no_direction() -> None:
    rounding = np.random.default_rng(0).normal(size=(7, 3)) * 1e-6
    same = (1.0 + rounding).astype(np.float32)
    directions = Directions.around(same, same[:2], 7)
    assert not directions.of(same).any()  # rounding must not be blown up to length 1


def test_zero_vector_has_no_direction() -> None:
    assert unit_rows(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]


def three_groups(sizes: tuple[int, int, int]) -> np.ndarray:
    """Return tight groups along three axes."""
    rng = np.random.default_rng(0)
    axes = np.repeat(np.eye(3, 6), sizes, axis=0)
    return (axes + 0.05 * rng.normal(size=axes.shape)).astype(np.float32)


def test_maxherding_takes_one_of_each_group_the_largest_first() -> None:
    embeddings_ND = three_groups((5, 30, 15))
    pool = Candidates(np.arange(50), None, embeddings_ND)
    ranking = rank("maxherding", pool, Labeled.none(6), head=3, rng=np.random.default_rng(0))
    groups = np.repeat([0, 1, 2], [5, 30, 15])
    assert groups[ranking.order[:3]].tolist() == [1, 2, 0]


def test_what_is_labeled_needs_no_second_look() -> None:
    embeddings_ND = three_groups((5, 30, 15))
    pool = Candidates(np.arange(49), None, np.delete(embeddings_ND, 5, axis=0))
    labeled = Labeled(embeddings_ND[5:6], np.array([1]))  # one of the largest group
    ranking = rank("maxherding", pool, labeled, head=2, rng=np.random.default_rng(0))
    groups = np.repeat([0, 1, 2], [5, 29, 15])
    assert groups[ranking.order[:2]].tolist() == [2, 0]


def test_uherding_goes_where_the_model_is_unsure() -> None:
    embeddings_ND = three_groups((5, 30, 15))
    probs_NC = np.tile([0.99, 0.01], (50, 1))
    probs_NC[:5] = 0.5  # the smallest group is the one it cannot tell
    pool = Candidates(np.arange(50), probs_NC, embeddings_ND)
    ranking = rank("uherding", pool, Labeled.none(6), head=1, rng=np.random.default_rng(0))
    assert ranking.order[0] < 5


def test_certain_regions_are_still_covered_in_the_end() -> None:
    embeddings_ND = three_groups((5, 30, 15))
    probs_NC = np.tile([1.0, 0.0], (50, 1))
    probs_NC[:5] = 0.5
    pool = Candidates(np.arange(50), probs_NC, embeddings_ND)
    ranking = rank("uherding", pool, Labeled.none(6), head=8, rng=np.random.default_rng(0))
    groups = np.repeat([0, 1, 2], [5, 30, 15])
    assert set(groups[ranking.order[:8]].tolist()) == {0, 1, 2}


def test_sampling_the_pool_loses_little_coverage() -> None:
    candidates, _ = blobs(3000, n_classes=20, dim=16)
    embeddings_ND = candidates.embeddings_ND
    assert embeddings_ND is not None
    directions = Directions.around(embeddings_ND, embeddings_ND[:0], 3000).of(embeddings_ND)
    pool = Candidates(np.arange(3000), None, embeddings_ND)

    def covered(order: np.ndarray) -> float:
        return float(coverage(directions, directions[order[:50]], 1.0).mean())

    def herded(**sizes: int) -> float:
        ranking = rank(
            "maxherding", pool, Labeled.none(16), head=50, rng=np.random.default_rng(1), **sizes
        )
        return covered(ranking.order)

    exact = herded(max_candidates=3000, max_landmarks=3000)
    sampled = herded(max_candidates=500, max_landmarks=500)
    at_random = covered(np.random.default_rng(2).permutation(3000))
    assert exact >= sampled > at_random + 0.7 * (exact - at_random)


@settings(max_examples=50, deadline=None)
@given(
    scale=st.sampled_from([1e-30, 1.0, 1e17]),
    n_same=st.integers(0, 6),
    spread=st.sampled_from([1e-3, 0.1, 3.0]),
    seed=st.integers(0, 2**16),
)
def test_cosines_are_those_of_the_directions(
    scale: float, n_same: int, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows_ND = (1.0 + spread * rng.normal(size=(12, 7))).astype(np.float32)
    rows_ND[:n_same] = 1.0  # near the mean, where the rest is short
    rows_ND[-1] = 0.0
    rows_ND *= np.float32(scale)
    directions = Directions.around(rows_ND, rows_ND[:0], 12)
    some_TD = directions.of(rows_ND[:3])
    expected_NT = directions.of(rows_ND) @ some_TD.T
    np.testing.assert_allclose(directions.cosines(rows_ND, some_TD), expected_NT, atol=2e-3)
