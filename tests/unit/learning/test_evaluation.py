"""Measures on a holdout that a pencil can check, and what is said where there is little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml_backend.learning.evaluation import Evaluation, Measure, evaluate, proportion

CLASSES = ("Hund", "Katze", "Maus")
# Four dogs, one of them taken for a cat; two cats, both right; no mouse.
LABELS_H = np.array([0, 0, 0, 0, 1, 1])
PREDICTED_H = np.array([0, 0, 0, 1, 1, 1])


def sure_of(predicted_H: np.ndarray, confidence: float = 0.8) -> np.ndarray:
    """Give each row's class `confidence` and the two others the rest."""
    probs_HC = np.full((len(predicted_H), 3), (1 - confidence) / 2)
    probs_HC[np.arange(len(predicted_H)), predicted_H] = confidence
    return probs_HC


@pytest.fixture
def evaluation() -> Evaluation:
    return evaluate(sure_of(PREDICTED_H), LABELS_H, CLASSES)


def test_the_confusion_matrix_has_labels_as_rows(evaluation: Evaluation) -> None:
    assert evaluation.confusion_CC == ((3, 1, 0), (0, 2, 0), (0, 0, 0))
    assert evaluation.n == 6


def test_the_measures_are_those_of_a_pencil(evaluation: Evaluation) -> None:
    assert evaluation.accuracy.value == pytest.approx(5 / 6)
    assert evaluation.balanced_accuracy.value == pytest.approx((3 / 4 + 1) / 2)
    # F1 = 2 right / (labels + predicted): 6 / 7 and 4 / 5.
    assert evaluation.macro_f1.value == pytest.approx((6 / 7 + 4 / 5) / 2)
    dog, cat, mouse = evaluation.per_class
    assert (dog.precision.value, dog.recall.value) == (1, 3 / 4)
    assert (cat.precision.value, cat.recall.value) == (2 / 3, 1)
    assert (mouse.support, mouse.predicted) == (0, 0)


def test_it_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

    rng = np.random.default_rng(0)
    probs_HC, labels_H = rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200)
    found = evaluate(probs_HC, labels_H, CLASSES)
    predicted_H = probs_HC.argmax(axis=1)
    expected = balanced_accuracy_score(labels_H, predicted_H)
    assert found.balanced_accuracy.value == pytest.approx(expected)
    assert found.macro_f1.value == pytest.approx(f1_score(labels_H, predicted_H, average="macro"))
    assert found.log_loss == pytest.approx(log_loss(labels_H, probs_HC))


def test_the_log_loss_is_that_of_the_labels_probability(evaluation: Evaluation) -> None:
    assert evaluation.log_loss == pytest.approx(-(5 * np.log(0.8) + np.log(0.1)) / 6)


def test_wilsons_interval_is_the_textbooks() -> None:
    # Centre (x + z²/2) / (n + z²) of 8 in 10; never below 0 nor above 1, and wide at the ends.
    found = proportion(8, 10)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert proportion(10, 10).high == 1
    assert proportion(10, 10).low == pytest.approx(10 / (10 + 1.959964**2))
    assert proportion(0, 0) == Measure(None, None, None)


def test_a_class_without_holdout_labels_is_left_out_and_named(evaluation: Evaluation) -> None:
    assert evaluation.left_out == ("Maus",)
    assert evaluation.per_class[2].recall == Measure(None, None, None)
    assert "No holdout label of Maus: left out of balanced accuracy" in evaluation.caveat


def test_predicting_an_absent_class_costs_its_precision_and_the_others_recall() -> None:
    found = evaluate(sure_of(np.array([0, 2])), np.array([0, 0]), CLASSES)
    assert found.per_class[2].precision.value == 0
    assert found.balanced_accuracy.value == 0.5
    assert found.macro_f1.value == pytest.approx(2 / 3)


def test_without_labels_there_is_nothing_to_evaluate_and_no_nan() -> None:
    found = evaluate(np.empty((0, 3)), np.empty(0, int), CLASSES)
    assert found.caveat == "Nothing to evaluate: the holdout has no labels yet."
    assert found.small
    assert found.accuracy == Measure(None, None, None)
    assert (found.log_loss, found.calibration_error) == (None, None)
    json.dumps(found.as_dict(), allow_nan=False)


def test_one_class_alone_is_evaluated() -> None:
    found = evaluate(np.ones((5, 1)), np.zeros(5, int), ("only",))
    assert found.accuracy.value == 1
    assert found.log_loss == 0


def test_a_model_that_was_never_wrong_has_no_bootstrap_interval() -> None:
    found = evaluate(sure_of(LABELS_H), LABELS_H, CLASSES)
    assert found.balanced_accuracy == Measure(1.0, None, None)
    assert found.accuracy.low == pytest.approx(6 / (6 + 1.959964**2))


def test_bootstrap_intervals_surround_the_value_and_narrow_with_labels() -> None:
    few = evaluate(sure_of(np.tile(PREDICTED_H, 10)), np.tile(LABELS_H, 10), CLASSES)
    many = evaluate(sure_of(np.tile(PREDICTED_H, 100)), np.tile(LABELS_H, 100), CLASSES)
    for measure in ("balanced_accuracy", "macro_f1"):
        wide, narrow = getattr(few, measure), getattr(many, measure)
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_small_numbers_are_called_small() -> None:
    labels_H = np.array([0] * 6 + [1] * 6)
    predicted_H = np.array([0] * 6 + [1] * 3 + [0] * 3)
    found = evaluate(sure_of(predicted_H)[:, :2] / 0.9, labels_H, CLASSES[:2])
    assert found.small
    assert found.caveat == "12 holdout labels: accuracy 75 % [47, 91]; too few to say more."


def test_a_rare_class_among_many_labels_is_named() -> None:
    labels_H = np.array([0] * 150 + [1] * 147 + [2] * 3)
    found = evaluate(sure_of(labels_H), labels_H, CLASSES)
    assert found.small
    assert found.caveat == "Few holdout labels of Maus (3): their recall says little."


def test_enough_labels_need_no_caveat() -> None:
    labels_H = np.arange(300) % 3
    found = evaluate(sure_of(labels_H), labels_H, CLASSES)
    assert (found.small, found.caveat) == (False, "")


def test_many_missing_classes_are_counted_rather_than_listed() -> None:
    classes = tuple(f"c{row}" for row in range(30))
    found = evaluate(np.eye(30)[:1], np.array([0]), classes)
    assert "c1, c2, c3, c4, c5 and 24 more" in found.caveat


def test_temperature_is_measured_before_and_after() -> None:
    labels_H = np.array(([0] * 8 + [1] * 2) * 20)
    before, after = np.tile([0.99, 0.01, 0], (200, 1)), np.tile([0.8, 0.2, 0], (200, 1))
    found = evaluate(after, labels_H, CLASSES, probs_uncalibrated_HC=before)
    assert found.calibration_error is not None
    assert found.calibration_error_uncalibrated is not None
    assert found.calibration_error.value == pytest.approx(0)
    assert found.calibration_error_uncalibrated.value == pytest.approx(0.19)


def test_json_gives_back_what_was_told(evaluation: Evaluation) -> None:
    facts = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))
    assert facts["accuracy"].keys() == {"value", "low", "high"}
    assert facts["confusion_CC"][0] == [3, 1, 0]
    assert facts["per_class"][1]["name"] == "Katze"


def test_the_same_labels_give_the_same_numbers_in_any_order() -> None:
    rng = np.random.default_rng(1)
    probs_HC, labels_H = rng.dirichlet(np.ones(3), 80), rng.integers(0, 3, 80)
    order_H = rng.permutation(80)
    one = evaluate(probs_HC, labels_H, CLASSES)
    other = evaluate(probs_HC[order_H], labels_H[order_H], CLASSES)
    assert one.macro_f1 == other.macro_f1
    assert one.calibration_error is not None
    assert other.calibration_error is not None
    assert one.calibration_error.value == pytest.approx(other.calibration_error.value)


@pytest.mark.parametrize(
    ("probs_HC", "labels_H", "said"),
    [
        (np.ones((2, 2)) / 2, np.array([0]), "probs_HC has shape"),
        (np.ones((1, 3)) / 3, np.array([0]), "probs_HC has shape"),
        (np.array([[np.nan, 1]]), np.array([0]), "no probabilities"),
        (np.array([[-0.5, 1.5]]), np.array([0]), "no probabilities"),
        (np.array([[2.0, 3.0]]), np.array([0]), "do not sum to 1"),
        (np.array([[0.5, 0.5]]), np.array([2]), "labels_H spans 2..2: expected 0..1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(
    probs_HC: np.ndarray, labels_H: np.ndarray, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate(probs_HC, labels_H, ("a", "b"))


def test_reading_needs_neither_torch_nor_scikit_learn() -> None:
    program = (
        "import sys; import ml_backend.learning.evaluation, ml_backend.learning.promotion, "
        "ml_backend.learning.registry; assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
