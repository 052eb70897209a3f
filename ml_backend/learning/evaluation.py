"""How good a model is on labels that it never saw, with what the numbers are worth.

Knows probabilities and class rows; no model, no images, no torch. The caller sees to it that they
come from the holdout. Shares have Wilson intervals (1927), which stay inside [0, 1] and have a
width at 0 and 1; balanced accuracy and macro-F1 are no shares and get a bootstrap's, which is
somewhat narrow where labels are few. SciPy is imported where it computes, since processes that only
read results load this too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.calibration_error import CalibrationError, calibration_error

SMALL = 100  # below, the interval of an accuracy is some 12 points wide at 90 %, 20 at 50 %
SMALL_CLASS = 10  # below, that of a recall spans 30 points and more
RESAMPLES = 2000
_SMALLEST_PROBABILITY = 1e-7  # float32 may hold 0, whose logarithm would swallow all others
_NAMED = 5  # classes that a caveat names before it counts the rest


@dataclass(frozen=True, slots=True)
class Measure:
    """A number in [0, 1] with 95 % bounds. None: it cannot be told, or they cannot."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ClassMeasures:
    """One class: its labels in the holdout, how often it was predicted, and both together."""

    name: str
    support: int
    predicted: int
    precision: Measure
    recall: Measure


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model on n holdout labels. C classes.

    Balanced accuracy and macro-F1 are means over the classes that the holdout has labels of;
    `left_out` names the others. `confusion_CC[i][j]` counts labels i predicted as j. The ones
    named `uncalibrated` are before temperature, None where that was not given.
    """

    n: int
    classes: tuple[str, ...]
    accuracy: Measure
    balanced_accuracy: Measure
    macro_f1: Measure
    per_class: tuple[ClassMeasures, ...]
    confusion_CC: tuple[tuple[int, ...], ...]
    log_loss: float | None
    log_loss_uncalibrated: float | None
    calibration_error: CalibrationError | None
    calibration_error_uncalibrated: CalibrationError | None
    left_out: tuple[str, ...]
    small: bool
    caveat: str  # what to keep in mind about the numbers, "" where nothing

    def as_dict(self) -> dict[str, Any]:
        """Give what JSON can hold, under these names."""
        return asdict(self)


def evaluate(
    probs_HC: NDArray[np.floating[Any]],
    labels_H: NDArray[np.integer[Any]],
    classes: tuple[str, ...],
    *,
    probs_uncalibrated_HC: NDArray[np.floating[Any]] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Evaluate probabilities of H holdout images by their labels, rows of `classes`.

    H may be 0; then every measure is None. Raises ValueError naming an array that does not fit.
    """
    labels_H = np.asarray(labels_H)
    _check("probs_HC", probs_HC, labels_H, len(classes))
    if probs_uncalibrated_HC is not None:
        _check("probs_uncalibrated_HC", probs_uncalibrated_HC, labels_H, len(classes))
    confusion_CC = _confusion(labels_H, np.asarray(probs_HC).argmax(axis=1), len(classes))
    accuracy = proportion(int(np.trace(confusion_CC)), len(labels_H))
    balanced, macro_f1 = _means_over_classes(confusion_CC, seed)
    left_out = tuple(np.array(classes, object)[confusion_CC.sum(axis=1) == 0])
    small, caveat = _caveat(accuracy, confusion_CC.sum(axis=1), classes)
    before = probs_uncalibrated_HC
    return Evaluation(
        n=len(labels_H),
        classes=tuple(classes),
        accuracy=accuracy,
        balanced_accuracy=balanced,
        macro_f1=macro_f1,
        per_class=_per_class(confusion_CC, classes),
        confusion_CC=tuple(tuple(row) for row in confusion_CC.tolist()),
        log_loss=_log_loss(probs_HC, labels_H),
        log_loss_uncalibrated=None if before is None else _log_loss(before, labels_H),
        calibration_error=calibration_error(probs_HC, labels_H, seed=seed),
        calibration_error_uncalibrated=(
            None if before is None else calibration_error(before, labels_H, seed=seed)
        ),
        left_out=left_out,
        small=small,
        caveat=caveat,
    )


def proportion(hits: int, n: int) -> Measure:
    """Give hits of n with their Wilson interval; None of 0."""
    from scipy.stats import binomtest

    if n == 0:
        return Measure(None, None, None)
    bounds = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Measure(hits / n, float(bounds.low), float(bounds.high))


def _check(
    name: str, probs_HC: NDArray[Any], labels_H: NDArray[np.integer[Any]], n_classes: int
) -> None:
    shape = (len(labels_H), n_classes)
    if np.shape(probs_HC) != shape or labels_H.ndim != 1:
        raise ValueError(f"{name} has shape {np.shape(probs_HC)}, expected {shape}")
    if not np.isfinite(probs_HC).all() or (np.asarray(probs_HC) < 0).any():
        raise ValueError(f"{name} holds values that are no probabilities")
    if not np.allclose(np.sum(probs_HC, axis=1), 1, atol=1e-3):
        raise ValueError(f"{name} has rows that do not sum to 1")
    if len(labels_H) and not (labels_H.min() >= 0 and labels_H.max() < n_classes):
        raise ValueError(
            f"labels_H spans {labels_H.min()}..{labels_H.max()}: expected 0..{n_classes - 1}"
        )


def _confusion(
    labels_H: NDArray[np.integer[Any]], predicted_H: NDArray[np.integer[Any]], n_classes: int
) -> NDArray[np.int64]:
    cells_H = labels_H.astype(np.int64) * n_classes + predicted_H
    return np.bincount(cells_H, minlength=n_classes**2).reshape(n_classes, n_classes)


def _per_class(
    confusion_CC: NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[ClassMeasures, ...]:
    support_C, predicted_C = confusion_CC.sum(axis=1), confusion_CC.sum(axis=0)
    return tuple(
        ClassMeasures(
            name=name,
            support=int(support_C[row]),
            predicted=int(predicted_C[row]),
            precision=proportion(int(confusion_CC[row, row]), int(predicted_C[row])),
            recall=proportion(int(confusion_CC[row, row]), int(support_C[row])),
        )
        for row, name in enumerate(classes)
    )


def _means_over_classes(confusion_CC: NDArray[np.int64], seed: int) -> tuple[Measure, Measure]:
    """Give balanced accuracy and macro-F1 with percentile intervals of a bootstrap over labels.

    Where the model was never wrong, or never right, the bounds are None: resampling cannot show
    what did not happen, and would call a certainty what the accuracy's interval does not.
    """
    n = int(confusion_CC.sum())
    if n == 0:
        return Measure(None, None, None), Measure(None, None, None)
    values = [float(each[0]) for each in _recall_and_f1(confusion_CC[None])]
    if np.trace(confusion_CC) in (0, n):
        return Measure(values[0], None, None), Measure(values[1], None, None)
    drawn = np.random.default_rng(seed).multinomial(n, confusion_CC.ravel() / n, RESAMPLES)
    resampled = _recall_and_f1(drawn.reshape(RESAMPLES, *confusion_CC.shape))
    low_high = [np.quantile(each_B, (0.025, 0.975)).tolist() for each_B in resampled]
    return Measure(values[0], *low_high[0]), Measure(values[1], *low_high[1])


def _recall_and_f1(
    confusion_BCC: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average recall and F1 over the classes with labels, for each of B matrices."""
    right_BC = np.einsum("bcc->bc", confusion_BCC)
    support_BC, predicted_BC = confusion_BCC.sum(axis=2), confusion_BCC.sum(axis=1)
    labeled_BC = support_BC > 0
    recall_BC = right_BC / np.maximum(support_BC, 1)
    f1_BC = 2 * right_BC / np.maximum(support_BC + predicted_BC, 1)
    return (
        recall_BC.mean(axis=1, where=labeled_BC),
        f1_BC.mean(axis=1, where=labeled_BC),
    )


def _log_loss(probs_HC: NDArray[Any], labels_H: NDArray[np.integer[Any]]) -> float | None:
    if len(labels_H) == 0:
        return None
    own_H = np.asarray(probs_HC, np.float64)[np.arange(len(labels_H)), labels_H]
    return abs(float(np.log(np.maximum(own_H, _SMALLEST_PROBABILITY)).mean()))


def _caveat(
    accuracy: Measure, support_C: NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[bool, str]:
    """Tell whether numbers are small, and say it."""
    n = int(support_C.sum())
    if accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return True, "Nothing to evaluate: the holdout has no labels yet."
    supports = list(zip(classes, support_C.tolist(), strict=True))
    absent = [name for name, k in supports if k == 0]
    rare = [f"{name} ({k})" for name, k in supports if 0 < k < SMALL_CLASS]
    said = []
    if n < SMALL:
        said.append(
            f"{n} holdout {'label' if n == 1 else 'labels'}: "
            f"accuracy {100 * accuracy.value:.0f} % "
            f"[{100 * accuracy.low:.0f}, {100 * accuracy.high:.0f}]; too few to say more."
        )
    elif rare:
        said.append(f"Few holdout labels of {_listed(rare)}: their recall says little.")
    if absent:
        said.append(
            f"No holdout label of {_listed(absent)}: left out of balanced accuracy and macro-F1."
        )
    return n < SMALL or bool(rare or absent), " ".join(said)


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
