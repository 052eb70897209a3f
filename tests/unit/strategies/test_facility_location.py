"""Facility location: lazy picks are those of the plain greedy algorithm."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Labeled, rank
from strategies.facility_location import likeness
from strategies.geometry import Directions


def test_likeness_is_one_for_the_same_direction_and_zero_for_the_opposite() -> None:
    corners = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    assert likeness(corners[:1], corners).tolist() == [[1.0, 0.5, 0.0]]


@settings(max_examples=30, deadline=None)
@given(
    size=st.integers(2, 30),
    labeled=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_pick_gains_the_most(size: int, labeled: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points_ND = rng.normal(size=(size, 4)).astype(np.float32)
    labeled_MD = rng.normal(size=(labeled, 4)).astype(np.float32)
    to_directions = Directions.around(points_ND, labeled_MD, size)
    like_NN = likeness(to_directions.of(points_ND), to_directions.of(points_ND)).astype(float)
    covered_N = np.zeros(size)
    if labeled:
        covered_N = likeness(to_directions.of(labeled_MD), to_directions.of(points_ND)).max(axis=0)
    pool = Candidates(np.arange(size), None, points_ND)
    ranking = rank(
        "facility_location",
        pool,
        Labeled(labeled_MD, np.zeros(labeled, int)),
        head=size,
        rng=rng,
    )
    for row, reason in zip(ranking.order, ranking.reasons, strict=True):
        gains_N = np.maximum(like_NN - covered_N, 0).sum(axis=1)
        if reason.kind == "fills":  # nothing is left to gain
            assert gains_N.max() < 1e-4 * size
            break
        assert gains_N[row] >= gains_N.max() - 1e-4
        covered_N = np.maximum(covered_N, like_NN[row])
