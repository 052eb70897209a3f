"""Curves are tested on images that their heads were not fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.appraisal.curves import queue_right, random_arm, sizes
from ml_backend.appraisal.heads import answers, plain_head
from tests.unit.appraisal.projects import blobs


def test_sizes_grow_by_a_factor_and_never_repeat() -> None:
    assert sizes(1, 8, 4).tolist() == [1, 2, 4, 8]
    assert sizes(2, 3, 12).tolist() == [2, 3]
    assert sizes(5, 4, 3).tolist() == []


def test_the_queues_curve_is_that_of_heads_on_its_first_labels() -> None:
    queue_MD, labels_M = blobs(60, seed=0)
    holdout_HD, holdout_labels_H = blobs(40, seed=1)
    right_SH = queue_right(queue_MD, labels_M, np.array([5, 60]), holdout_HD, holdout_labels_H, 3)
    first = plain_head(queue_MD[:5], labels_M[:5], 3)
    assert right_SH.shape == (2, 40)
    assert np.array_equal(right_SH[0], answers(first, holdout_HD) == holdout_labels_H)
    last = plain_head(queue_MD, labels_M, 3)
    assert np.array_equal(right_SH[1], answers(last, holdout_HD) == holdout_labels_H)


def test_the_random_arm_never_tests_on_what_it_learned_from() -> None:
    """Labels that are pure chance: a head knows its own by heart, and guesses all others."""
    rng = np.random.default_rng(0)
    embeddings_HD = rng.normal(size=(60, 200)).astype(np.float32)
    labels_H = rng.integers(0, 2, 60)
    arm = random_arm(embeddings_HD, labels_H, 30, 2, heads=20, rng=rng)
    assert 0.3 < arm.accuracy < 0.7


def test_the_random_arms_variance_is_that_between_holdouts() -> None:
    """Of many holdouts: how far apart their arms lie, over what testing alone does."""
    arms = []
    for seed in range(60):
        embeddings_HD, labels_H = blobs(40, seed=seed, noise=1.5)
        arms.append(
            random_arm(embeddings_HD, labels_H, 8, 3, heads=20, rng=np.random.default_rng(seed))
        )
    spread = np.var([arm.accuracy for arm in arms], ddof=1)
    told = np.mean([arm.variance + arm.right_H.var() / 40 for arm in arms])
    assert 0.5 < told / spread < 2.0


def test_more_random_labels_than_the_holdout_has_are_refused() -> None:
    embeddings_HD, labels_H = blobs(10, seed=0)
    with pytest.raises(ValueError, match=r"expected 1\.\.9"):
        random_arm(embeddings_HD, labels_H, 10, 3, heads=2, rng=np.random.default_rng(0))
