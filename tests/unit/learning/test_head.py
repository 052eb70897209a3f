"""The head in every state that labels can be in, from none to many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.learning.head import Head, _likeliest_temperature, fit_head


def clusters(
    n: int, n_classes: int, *, seed: int = 0, spread: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Draw n points around one corner a class, classes in turn."""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(n) % n_classes
    corners_CD = np.eye(n_classes, 16) * 3 + 1
    points_ND = corners_CD[labels_N] + rng.normal(scale=spread, size=(n, 16))
    return points_ND.astype(np.float32), labels_N


def fitted(embeddings_MD: np.ndarray, labels_M: np.ndarray, n_classes: int, **more: object) -> Head:
    head = fit_head(embeddings_MD, labels_M, n_classes, **more)  # type: ignore[arg-type]
    assert head is not None
    return head


def test_without_a_label_there_is_no_head() -> None:
    assert fit_head(np.empty((0, 16), np.float32), np.empty(0, np.int64), 3) is None


def test_one_class_gives_smoothed_frequencies_and_no_certainty() -> None:
    points_MD, _ = clusters(4, 2)
    head = fitted(points_MD, np.array([1, 1, 1, 1]), 3)
    probs_NC = head.probs(clusters(7, 3)[0])
    assert np.allclose(probs_NC, [1 / 7, 5 / 7, 1 / 7])  # (count + 1) / (4 labels + 3 classes)
    assert head.oof_accuracy is None


def test_a_class_never_seen_gets_its_smoothed_share() -> None:
    points_MD, labels_M = clusters(10, 2)
    probs_NC = fitted(points_MD, labels_M, 4).probs(points_MD)
    assert np.allclose(probs_NC[:, 2:], 1 / 14)
    assert (probs_NC[:, :2].argmax(axis=1) == labels_M).all()


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_classes_that_lie_apart_are_told_apart(n_classes: int) -> None:
    head = fitted(*clusters(n_classes * 8, n_classes), n_classes)
    points_ND, labels_N = clusters(200, n_classes, seed=1)
    assert (head.probs(points_ND).argmax(axis=1) == labels_N).all()
    assert head.oof_accuracy == 1.0


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=25),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
    seed=st.integers(0, 100),
)
def test_whatever_is_labeled_rows_are_probabilities(
    labels: list[int], scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points_MD = (rng.normal(size=(len(labels), 6)) * scale).astype(np.float32)
    head = fitted(points_MD, np.array(labels), 5)
    probs_NC = head.probs(np.concatenate([points_MD, np.zeros((2, 6), np.float32)]))
    assert probs_NC.dtype == np.float32
    assert probs_NC.shape == (len(labels) + 2, 5)
    assert (probs_NC >= 0).all()
    assert np.allclose(probs_NC.sum(axis=1), 1, atol=1e-5)


def test_the_same_labels_give_the_same_head() -> None:
    points_MD, labels_M = clusters(60, 3, spread=2.0)
    one, two = (fitted(points_MD, labels_M, 3, seed=5) for _ in range(2))
    assert np.array_equal(one.probs(points_MD), two.probs(points_MD))
    assert one.temperature == two.temperature


def test_probabilities_do_not_depend_on_the_rows_around_them() -> None:
    points_MD, labels_M = clusters(60, 3, spread=2.0)
    head = fitted(points_MD, labels_M, 3)
    many_ND = clusters(40_000, 3, seed=3)[0]
    assert np.allclose(
        head.probs(many_ND)[[5, 39_999]], head.probs(many_ND[[5, 39_999]]), atol=1e-6
    )


def test_noise_is_predicted_with_little_confidence() -> None:
    rng = np.random.default_rng(0)
    points_MD = rng.normal(size=(120, 40)).astype(np.float32)
    labels_M = rng.integers(0, 3, 120)
    head = fitted(points_MD, labels_M, 3)
    top_N = head.probs(rng.normal(size=(500, 40)).astype(np.float32)).max(axis=1)
    assert head.oof_accuracy is not None
    assert abs(head.oof_accuracy - 1 / 3) < 0.15
    assert top_N.mean() < 0.5  # uncalibrated it is 0.7
    assert head.temperature > 1.5


def test_the_temperature_is_the_likeliest_one() -> None:
    # Odds of 3 to 1 told with logits (2, 0), where ln 3 would be right: T = 2 / ln 3.
    logits_MK = np.tile([2.0, 0.0], (4, 1))
    own_M = np.array([2.0, 2.0, 2.0, 0.0])
    assert _likeliest_temperature(logits_MK, own_M) == pytest.approx(2 / np.log(3), rel=1e-3)


def test_with_few_labels_nothing_is_calibrated_nor_claimed() -> None:
    head = fitted(*clusters(8, 3), 3)
    assert (head.temperature, head.oof_accuracy, head.calibrated_on) == (1.0, None, 0)


def test_a_label_alone_in_its_class_counts_as_missed_out_of_fold() -> None:
    points_MD, labels_M = clusters(30, 3)
    labels_M[labels_M == 2] = 1
    labels_M[2] = 2
    points_MD[labels_M == 1] = clusters(60, 3)[0][1::3][: (labels_M == 1).sum()]
    assert fitted(points_MD, labels_M, 3).oof_accuracy == pytest.approx(29 / 30)


def test_one_more_label_reuses_the_calibration_and_a_tenth_more_does_not() -> None:
    points_MD, labels_M = clusters(120, 3, spread=2.0)
    before = fitted(points_MD[:100], labels_M[:100], 3)
    soon = fitted(points_MD[:101], labels_M[:101], 3, previous=before)
    late = fitted(points_MD[:111], labels_M[:111], 3, previous=soon)
    assert (soon.temperature, soon.calibrated_on) == (before.temperature, 100)
    assert late.calibrated_on == 111
    assert late.temperature == fitted(points_MD[:111], labels_M[:111], 3).temperature


def test_a_new_class_calibrates_anew() -> None:
    points_MD, labels_M = clusters(41, 3, spread=2.0)
    labels_M[:40] %= 2
    before = fitted(points_MD[:40], labels_M[:40], 3)
    labels_M[40] = 2
    assert fitted(points_MD, labels_M, 3, previous=before).calibrated_on == 41


def after_fine_tuning(n: int, n_unseen: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embed n images, told apart perfectly but for the last, which the network never saw."""
    points_MD, labels_M = clusters(n, 3, spread=0.05)
    unseen_M = np.arange(n) >= n - n_unseen
    rng = np.random.default_rng(2)
    confused_M = unseen_M & (rng.random(n) < 0.4)
    points_MD[confused_M] = points_MD[rng.integers(0, n - n_unseen, confused_M.sum())]
    return points_MD, labels_M, unseen_M


def test_the_temperature_is_that_of_images_the_network_never_saw() -> None:
    points_MD, labels_M, unseen_M = after_fine_tuning(300, 60)
    told = fitted(points_MD, labels_M, 3, unseen_M=unseen_M)
    untold = fitted(points_MD, labels_M, 3)
    assert untold.oof_accuracy is not None
    assert told.oof_accuracy is not None
    assert untold.oof_accuracy >= 0.9
    assert told.oof_accuracy == pytest.approx(0.75, abs=0.1)
    assert told.temperature > 1.5 * untold.temperature
    assert (told.calibrated_on, told.calibrated_on_unseen) == (60, True)
    assert np.array_equal(told.weights_DK, untold.weights_DK)


def test_confidence_then_fits_new_images() -> None:
    points_MD, labels_M, unseen_M = after_fine_tuning(300, 60)
    told = fitted(points_MD, labels_M, 3, unseen_M=unseen_M)
    untold = fitted(points_MD, labels_M, 3)
    new_ND = points_MD[unseen_M]
    assert told.oof_accuracy is not None
    assert told.probs(new_ND).max(axis=1).mean() == pytest.approx(told.oof_accuracy, abs=0.1)
    assert untold.probs(new_ND).max(axis=1).mean() > 0.85


def test_a_network_that_saw_none_of_them_changes_nothing() -> None:
    points_MD, labels_M = clusters(60, 3, spread=2.0)
    one = fitted(points_MD, labels_M, 3)
    two = fitted(points_MD, labels_M, 3, unseen_M=np.ones(60, bool), temperature_start=7.0)
    assert (one.temperature, one.calibrated_on) == (two.temperature, two.calibrated_on)
    assert not two.calibrated_on_unseen
    assert np.array_equal(one.probs(points_MD), two.probs(points_MD))


@pytest.mark.parametrize(("start", "expected"), [(None, 1.0), (2.5, 2.5)])
def test_with_few_unseen_the_temperature_is_the_given_one(
    start: float | None, expected: float
) -> None:
    points_MD, labels_M, unseen_M = after_fine_tuning(100, 8)
    head = fitted(points_MD, labels_M, 3, unseen_M=unseen_M, temperature_start=start)
    assert (head.temperature, head.oof_accuracy, head.calibrated_on) == (expected, None, 0)
    again = fitted(points_MD, labels_M, 3, unseen_M=unseen_M, previous=head, temperature_start=3.0)
    assert again.temperature == 3.0


def test_a_calibration_on_other_rows_is_not_taken_over() -> None:
    points_MD, labels_M, unseen_M = after_fine_tuning(300, 60)
    on_all_60 = fitted(points_MD[unseen_M], labels_M[unseen_M], 3)
    told = fitted(points_MD, labels_M, 3, unseen_M=unseen_M, previous=on_all_60)
    assert told.temperature == fitted(points_MD, labels_M, 3, unseen_M=unseen_M).temperature
    soon = fitted(points_MD[1:], labels_M[1:], 3, unseen_M=unseen_M[1:], previous=told)
    assert (soon.temperature, soon.oof_accuracy) == (told.temperature, told.oof_accuracy)
    assert soon.calibrated_on_unseen
    untold = fitted(points_MD[unseen_M], labels_M[unseen_M], 3, previous=told)
    assert untold.temperature == on_all_60.temperature


@pytest.mark.parametrize("unseen_M", [np.ones(5, bool), np.ones(6), np.ones((6, 1), bool)])
def test_unseen_rows_that_do_not_fit_are_refused(unseen_M: np.ndarray) -> None:
    with pytest.raises(ValueError, match="unseen_M"):
        fit_head(*clusters(6, 3), 3, unseen_M=unseen_M)


@pytest.mark.parametrize(
    ("embeddings_MD", "labels_M"),
    [
        (np.zeros((2, 3)), np.array([0])),
        (np.zeros(3), np.array([0, 1, 2])),
        (np.zeros((2, 3)), np.array([0, 5])),
        (np.zeros((2, 3)), np.array([-1, 0])),
        (np.array([[np.nan, 0], [0, 0]]), np.array([0, 1])),
    ],
)
def test_input_that_does_not_fit_is_refused_by_name(
    embeddings_MD: np.ndarray, labels_M: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="_M"):
        fit_head(embeddings_MD, labels_M, 3)


def test_reading_results_needs_neither_torch_nor_scikit_learn() -> None:
    program = (
        "import sys; import ml_backend.learning.checkpoints, ml_backend.learning.head, "
        "ml_backend.learning.embeddings; assert not {'torch', 'sklearn'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
