"""BAIT: the fast picks are the literal argmin of the trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Labeled, rank
from strategies.bait import fisher_roots, forward_greedy, second_moment
from tests.unit.strategies.pools import linear_head


def trace(rows_ND: np.ndarray, known_DD: np.ndarray, all_DD: np.ndarray, lam: float) -> float:
    """Compute tr[(lam I + known + sum x x')^-1 all] as it is written."""
    information_DD = lam * np.eye(len(known_DD)) + known_DD + rows_ND.T @ rows_ND
    return float(np.trace(np.linalg.inv(information_DD) @ all_DD))


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 30),
    dim=st.integers(1, 6),
    labeled=st.integers(0, 4),
    copies=st.booleans(),
    lam=st.sampled_from([1e-3, 0.1, 1.0]),
    hopeful=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_pick_is_the_literal_argmin(
    size: int, dim: int, labeled: int, copies: bool, lam: float, hopeful: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows_ND = rng.normal(size=(size, dim)) * 0.5
    if copies:
        rows_ND = rows_ND[rng.integers(size, size=size)]
    known_DD = second_moment(rng.normal(size=(labeled, dim)) * 0.5)
    all_DD = second_moment(rows_ND) + known_DD
    picks = forward_greedy(
        rows_ND, known_DD, all_DD, size, regularisation=lam, hopeful=hopeful
    ).tolist()
    assert sorted(set(picks)) == sorted(picks)
    for place, pick in enumerate(picks):
        before = picks[:place]
        reached = {
            row: trace(rows_ND[[*before, row]], known_DD, all_DD, lam)
            for row in range(size)
            if row not in before
        }
        assert reached[pick] <= min(reached.values()) * (1 + 1e-9)


def test_number_of_hopeful_candidates_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    rows_ND = rng.normal(size=(400, 12)) * 0.4
    all_DD, none_DD = second_moment(rows_ND), np.zeros((12, 12))
    picks = [
        forward_greedy(rows_ND, none_DD, all_DD, 150, hopeful=hopeful).tolist()
        for hopeful in (2, 40, 400)
    ]
    assert picks[0] == picks[1] == picks[2]
    assert len(picks[0]) == 150


def test_what_the_model_is_sure_of_carries_no_information() -> None:
    probs_NC = np.array([[1.0, 0.0], [0.5, 0.5], [0.8, 0.2]])
    roots_N = fisher_roots(probs_NC, multi_label=False)
    np.testing.assert_allclose(roots_N, [0.0, 0.5, 0.4], rtol=1e-6)
    several = fisher_roots(np.array([[0.5, 1.0]]), multi_label=True)
    np.testing.assert_allclose(several, np.sqrt(0.125), rtol=1e-6)


@pytest.mark.parametrize("labeled_axis", [0, 1])
def test_it_asks_for_the_direction_that_the_labels_do_not_show(labeled_axis: int) -> None:
    rng = np.random.default_rng(0)
    # Two pairs of opposite groups along two axes; labels lie along one of them.
    axis_of_row = np.repeat([0, 1], 20)
    embeddings_ND = 0.05 * rng.normal(size=(40, 2))
    embeddings_ND[np.arange(40), axis_of_row] += np.tile([1, -1], 20)
    labeled_MD = np.zeros((6, 2))
    labeled_MD[:, labeled_axis] = [1, -1, 1, -1, 1, -1]
    pool = Candidates(
        np.arange(40), np.full((40, 2), 0.5), embeddings_ND, predict=linear_head(2, 2)
    )
    labeled = Labeled(labeled_MD, np.array([0, 1] * 3))
    ranking = rank("bait", pool, labeled, head=1, rng=rng)
    assert axis_of_row[ranking.order[0]] == 1 - labeled_axis
