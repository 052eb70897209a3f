"""BALD over samples of the model, feature dropout, several labels a task, and stochastic order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from ml_backend.errors import UnrankableInput
from strategies import Candidates, Labeled, rank
from strategies.dropout import dropped_probs
from strategies.uncertainty import bald, entropy, least_confidence, margin, per_label

SURE_BUT_DIVIDED = [[1.0, 0.0], [0.0, 1.0]]
UNSURE_TOGETHER = [[0.5, 0.5], [0.5, 0.5]]
AGREED = [[0.9, 0.1], [0.9, 0.1]]
# (T, N, C): three tasks as two samples see them
SAMPLES_TNC = np.array([SURE_BUT_DIVIDED, UNSURE_TOGETHER, AGREED]).transpose(1, 0, 2)


def test_bald_is_what_samples_disagree_about_and_not_what_they_all_doubt() -> None:
    np.testing.assert_allclose(bald(SAMPLES_TNC), [1, 0, 0], atol=1e-12)
    # Half and half of sure and undecided: H(3/4) - 1/2 in bits.
    mixed = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    np.testing.assert_allclose(bald(mixed), [0.8112781 - 0.5], rtol=1e-6)


@dataclass
class Streamed:
    """Samples that are made one at a time, and counted."""

    made: int = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for probs_NC in SAMPLES_TNC:
            self.made += 1
            yield probs_NC


def test_samples_are_read_one_at_a_time_and_in_the_order_of_the_tasks() -> None:
    streamed = Streamed()
    pool = Candidates(np.array([30, 20, 10]), None, None, streamed)  # ids fall: rows are sorted
    ranking = rank("bald", pool, Labeled.none(), head=3, rng=np.random.default_rng(0))
    assert ranking.order[0] == 0
    assert not ranking.cold_start  # samples are a model, with or without probs_NC
    assert streamed.made == 2


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([np.full((3, 2), 0.9)], r"mc_probs_TNC\[0\].*row sums"),
        ([np.full((3, 2), 0.5), np.full((2, 2), 0.5)], r"mc_probs_TNC\[1\] has shape \(2, 2\)"),
        ([np.full((3, 2), 0.5), np.full((3, 1), 1.0)], r"mc_probs_TNC\[1\] has shape \(3, 1\)"),
        ([np.full((3, 2), np.nan)], r"mc_probs_TNC\[0\] row 0 holds NaN"),
        ([], "holds no sample"),
    ],
)
def test_unusable_samples_are_refused(samples: list[np.ndarray], message: str) -> None:
    pool = Candidates(np.arange(3), None, None, samples)
    with pytest.raises(UnrankableInput, match=message):
        rank("bald", pool, Labeled.none(), rng=np.random.default_rng(0))


def test_samples_that_can_be_read_only_once_are_refused() -> None:
    with pytest.raises(UnrankableInput, match="only once"):
        Candidates(np.arange(3), None, None, (probs_NC for probs_NC in SAMPLES_TNC))


def test_dropout_leaves_features_out_at_its_rate_and_scales_the_others() -> None:
    seen: list[np.ndarray] = []

    def halves(rows_KD: np.ndarray) -> np.ndarray:
        seen.append(rows_KD.copy())
        return np.full((len(rows_KD), 2), 0.5)

    embeddings_ND = np.tile([[0.0], [4.0]], (4500, 4))  # each feature's mean is 2
    before = embeddings_ND.copy()
    pool = Candidates(np.arange(9000), None, embeddings_ND, predict=halves)
    probs_NC = dropped_probs(pool, np.random.default_rng(0), rate=0.75)
    rows_ND = np.concatenate(seen)
    assert probs_NC.shape == (9000, 2)
    assert set(np.unique(rows_ND)) == {2.0, 2.0 - 4 * 2, 2.0 + 4 * 2}
    assert (rows_ND == 2.0).mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_array_equal(embeddings_ND, before)  # the caller's are left alone


# --- several labels a task


def test_each_label_is_a_question_of_its_own() -> None:
    probs_NC = np.array([[0.5, 1.0], [0.9, 0.2], [0.0, 1.0]])
    # margin of yes against no: 1 - |2p - 1|
    np.testing.assert_allclose(per_label(margin, probs_NC), [0.5, (0.2 + 0.4) / 2, 0], atol=1e-12)
    np.testing.assert_allclose(
        per_label(least_confidence, probs_NC), per_label(margin, probs_NC), atol=1e-12
    )
    np.testing.assert_allclose(per_label(entropy, probs_NC)[[0, 2]], [0.5, 0.0], atol=1e-12)


def test_probabilities_of_several_labels_need_not_sum_to_one_but_must_be_declared() -> None:
    probs_NC = np.array([[0.9, 0.9], [0.5, 0.5], [0.1, 0.0]])
    with pytest.raises(UnrankableInput, match="row sums"):
        Candidates(np.arange(3), probs_NC, None)
    pool = Candidates(np.arange(3), probs_NC, None, multi_label=True)
    ranking = rank("margin", pool, Labeled.none(), rng=np.random.default_rng(0))
    assert ranking.order.tolist() == [1, 0, 2]
    with pytest.raises(UnrankableInput, match="a sigmoid each"):
        Candidates(np.arange(3), probs_NC * 3, None, multi_label=True)


def test_reason_names_the_labels_most_in_doubt_where_there_can_be_several() -> None:
    pool = Candidates(np.arange(1), np.array([[0.95, 0.4, 0.05, 0.7]]), None, multi_label=True)
    [reason] = rank("margin", pool, Labeled.none(), rng=np.random.default_rng(0)).reasons
    assert reason.text(["sky", "sea", "ship", "sand"]) == (
        "The model is least sure about sea (40 %) and sand (70 %)."
    )


@pytest.mark.parametrize("labels", [np.array([[0, 2]]), np.array([[0.5, 1.0]])])
def test_several_labels_are_zeros_and_ones(labels: np.ndarray) -> None:
    with pytest.raises(UnrankableInput, match="zeros and ones"):
        Labeled(np.zeros((1, 2)), labels)


# --- power


def pool_of(unsure_N: list[float]) -> Candidates:
    likely_N = 1 - np.array(unsure_N) / 2
    return Candidates(np.arange(len(unsure_N)), np.stack([likely_N, 1 - likely_N], axis=1), None)


def first_picks(pool: Candidates, beta: float, runs: int) -> Counter[int]:
    rng = np.random.default_rng(0)
    return Counter(
        int(rank("power", pool, Labeled.none(), rng=rng, beta=beta).order[0]) for _ in range(runs)
    )


@pytest.mark.parametrize(("beta", "shares"), [(1.0, [1 / 7, 2 / 7, 4 / 7]), (2.0, [1, 4, 16])])
def test_power_draws_in_proportion_to_a_power_of_the_uncertainty(
    beta: float, shares: list[float]
) -> None:
    expected = np.array(shares) / sum(shares)
    runs = 1500
    first = first_picks(pool_of([0.2, 0.4, 0.8]), beta, runs)
    for row, share in enumerate(expected):
        assert abs(first[row] / runs - share) < 4 * np.sqrt(share * (1 - share) / runs)


def test_power_leaves_what_is_certain_to_the_end() -> None:
    first = first_picks(pool_of([0.0, 0.01]), 1.0, 200)
    assert first[1] == 200
