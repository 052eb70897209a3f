"""One replay: who is labeled, who is tested, what a seed decides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ml_backend.errors import UnknownStrategy
from ml_backend.simulation.replay import Contender, replay, split
from tests.unit.simulation.builders import blobs


def test_split_keeps_its_share_of_each_class_for_the_test() -> None:
    labels_N = np.repeat([0, 1], [40, 8])
    pool_P, test_T = split(labels_N, seed=3)
    assert np.bincount(labels_N[test_T]).tolist() == [10, 2]
    assert sorted([*pool_P.tolist(), *test_T.tolist()]) == list(range(48))
    assert split(labels_N, seed=3)[1].tolist() == test_T.tolist()
    assert split(labels_N, seed=4)[1].tolist() != test_T.tolist()
    assert np.bincount(labels_N[split(labels_N, 0, test_share=0.5)[1]]).tolist() == [20, 4]


def test_a_replay_measures_after_each_budget_and_is_the_same_again() -> None:
    images, contender = blobs(), Contender("uherding", "uherding")
    first = replay(images, contender, [6, 12, 24], seed=1)
    assert first.budgets == (6, 12, 24)
    assert all(0 <= accuracy <= 1 for accuracy in first.accuracies)
    assert first.accuracies == replay(images, contender, [6, 12, 24], seed=1).accuracies
    assert first.accuracies != replay(images, contender, [6, 12, 24], seed=2).accuracies


def test_with_the_whole_pool_labeled_the_order_does_not_matter() -> None:
    images = blobs()
    ends = {
        replay(images, Contender(name, name), [10, 45], seed=0).accuracies[-1]
        for name in ("random", "margin", "uherding")
    }
    assert max(ends) - min(ends) < 0.1  # the rows' order touches the calibration alone


def test_ranking_and_fitting_are_timed_apart() -> None:
    ticks = itertools.count()
    curve = replay(
        blobs(), Contender("random", "random"), [3, 6], seed=0, clock=lambda: float(next(ticks))
    )
    assert curve.rank_s == (1.0, 1.0)
    assert curve.fit_s == (1.0, 1.0)


def test_a_strategy_s_parameters_reach_it() -> None:
    images = blobs(spread=3)
    by = {
        uncertainty: replay(
            images,
            Contender(uncertainty, "top_n", (("uncertainty", uncertainty),)),
            [5, 10, 20],
            seed=0,
        ).accuracies
        for uncertainty in ("margin", "random")
    }
    assert by["margin"] != by["random"]


def test_a_strategy_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises((UnknownStrategy, KeyError), match="nonsense"):
        replay(blobs(), Contender("nonsense", "nonsense"), [5], seed=0)
