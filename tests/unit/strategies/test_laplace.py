"""The Laplace posterior of the head's weights: checked by pencil, and against the whole matrix."""

from __future__ import annotations

import tracemalloc
from itertools import islice

import numpy as np
import pytest

from ml_backend.errors import ConfigurationError
from strategies import Candidates, Labeled, rank
from strategies.laplace import Posterior, curvature, samples
from tests.unit.strategies.pools import blobs

UNDECIDED = [0.5, 0.5]
ALONG_FIRST, ALONG_SECOND = [1.0, 0.0], [0.0, 1.0]


def posterior(
    inputs: list[list[float]],
    probs: list[list[float]],
    *,
    prior_precision: float = 1.0,
    multi_label: bool = False,
) -> Posterior:
    return Posterior.of(
        np.array(inputs, np.float32),
        np.array(probs),
        prior_precision=prior_precision,
        multi_label=multi_label,
    )


def covariance(of: Posterior, z_D: np.ndarray) -> np.ndarray:
    """Return the covariance (C, C) of the logits at one input."""
    [variance_C] = of.variances(z_D[None].astype(np.float32))
    return of.answers_CC @ np.diag(variance_C) @ of.answers_CC.T


def test_four_labels_along_one_direction_lower_its_variance_to_a_third() -> None:
    # p (1 - p) = 1/4 makes G = [[1, -1], [-1, 1]] / 4, whose eigenvalues are 0 and 1/2. Along the
    # second: 1 / (4 labels / 2 + prior 1) = 1/3. The first moves all logits: the labels are mute.
    of_four = posterior([ALONG_FIRST] * 4, [UNDECIDED] * 4)
    variances_NC = of_four.variances(np.array([ALONG_FIRST, ALONG_SECOND], np.float32))
    np.testing.assert_allclose(variances_NC, [[1, 1 / 3], [1, 1]], rtol=1e-6)


def test_it_is_the_inverse_of_the_whole_matrix_where_all_answers_are_alike() -> None:
    rng = np.random.default_rng(0)
    inputs_MD, p_C = rng.normal(size=(5, 2)), np.array([0.7, 0.2, 0.1])
    one_CC = np.diag(p_C) - np.outer(p_C, p_C)
    whole = 0.5 * np.eye(6) + sum(np.kron(np.outer(z, z), one_CC) for z in inputs_MD)
    z_D = np.array([0.6, -0.8])
    to_logits = np.kron(z_D, np.eye(3))
    expected_CC = to_logits @ np.linalg.inv(whole) @ to_logits.T
    of_five = posterior(inputs_MD.tolist(), [p_C.tolist()] * 5, prior_precision=0.5)
    np.testing.assert_allclose(covariance(of_five, z_D), expected_CC, atol=1e-5)


def test_curvature_is_the_mean_over_what_is_labeled() -> None:
    # of [1/2, 1/2] and [1, 0]: ([[1, -1], [-1, 1]] / 4 + 0) / 2
    np.testing.assert_allclose(
        curvature(np.array([[0.5, 0.5], [1.0, 0.0]]), False), np.array([[1, -1], [-1, 1]]) / 8
    )


def test_labels_of_which_a_task_can_have_several_are_learned_apart() -> None:
    # 1 / (4 labels x p (1 - p) + prior 1): p = 1/2 is learned from, p = 1 is not
    of_four = posterior([ALONG_FIRST] * 4, [[0.5, 1.0]] * 4, multi_label=True)
    spread_CC = covariance(of_four, np.array(ALONG_FIRST))
    np.testing.assert_allclose(spread_CC, np.diag([1 / 2, 1]), atol=1e-6)


def test_without_labels_every_direction_is_as_uncertain_as_the_prior() -> None:
    empty = Posterior.of(
        np.empty((0, 2), np.float32), np.empty((0, 2)), prior_precision=4.0, multi_label=False
    )
    np.testing.assert_allclose(empty.variances(np.array([ALONG_FIRST], np.float32)), [[0.25, 0.25]])


def pool_around(labeled_D: list[float], others: list[list[float]]) -> tuple[Candidates, Labeled]:
    """Return a pool that the model is undecided about everywhere, and one labeled task."""
    pool = Candidates(
        np.arange(len(others)),
        np.full((len(others), 2), 0.5),
        np.array(others),
        predict=lambda rows_KD: np.full((len(rows_KD), 2), 0.5),
    )
    return pool, Labeled(np.array([labeled_D]), np.array([0]))


def test_of_equal_answers_the_one_farthest_from_the_labels_is_asked_first() -> None:
    pool, labeled = pool_around([1.0, 0.0], [[1.0, 0.1], [1.0, 1.0], [-1.0, 1.0]])
    order = rank("bald", pool, labeled, rng=np.random.default_rng(0)).order
    assert order[-1] == 0


def test_samples_spread_as_the_posterior_says() -> None:
    # One labeled task in the pool's own place: z = (0, 1), the bias alone. With prior 1 the
    # variance of the difference of the logits is 2 / (1 / 2 + 1) = 4/3, and both answers equal.
    pool, labeled = pool_around([1.0, 1.0], [[1.0, 1.0]])
    drawn = samples(pool, labeled, np.random.default_rng(0), n_samples=4000, prior_precision=1.0)
    differences_T = np.array([np.log(p[0, 1] / p[0, 0]) for p in drawn])
    assert differences_T.mean() == pytest.approx(0.0, abs=4 * np.sqrt(4 / 3 / 4000))
    assert differences_T.var() == pytest.approx(4 / 3, rel=0.1)


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    pool, labeled = blobs(30)
    [first], [again], [other] = (
        list(islice(samples(pool, labeled, np.random.default_rng(seed)), 1)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("multi_label", [False, True])
def test_samples_are_probabilities(multi_label: bool) -> None:
    pool, labeled = blobs(30)
    several = Candidates(
        pool.task_ids_N, pool.probs_NC, pool.embeddings_ND, None, pool.predict, None, multi_label
    )
    for probs_NC in samples(several, labeled, np.random.default_rng(0), n_samples=3):
        assert (probs_NC >= 0).all()
        assert (probs_NC <= 1).all()
        if not multi_label:
            np.testing.assert_allclose(probs_NC.sum(axis=1), 1, atol=1e-5)


def test_more_samples_take_no_more_memory() -> None:
    pool, labeled = blobs(4000, n_classes=20)

    def most(n_samples: int) -> int:
        tracemalloc.start()
        rank("bald", pool, labeled, samples=n_samples, head=1, rng=np.random.default_rng(0))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    one_sample = 4000 * 20 * 4
    assert most(30) < most(3) + one_sample


def test_there_are_two_posteriors_and_the_name_of_a_third_is_refused() -> None:
    pool, labeled = blobs(30)
    orders = [
        rank("bald", pool, labeled, posterior=name, rng=np.random.default_rng(0)).order.tolist()
        for name in ("laplace", "dropout")
    ]
    assert orders[0] != orders[1]
    with pytest.raises(ConfigurationError, match=r"posterior='exact': expected laplace or dropout"):
        rank("bald", pool, labeled, posterior="exact", rng=np.random.default_rng(0))
