"""What the holdout says of the head in force, as plain numbers.

Knows an evaluation and probabilities, of images that nothing was trained on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.appraisal.evidence import Evidence
from ml_backend.learning.calibration_error import bins_of_equal_mass, calibration_error
from ml_backend.learning.evaluation import Evaluation, Measure, evaluate


def holdout_findings(evidence: Evidence) -> dict[str, Any]:
    """Return `accuracy`, `calibration`, `confusion` and `per_class`."""
    head = evidence.head
    if head is None or not len(evidence.holdout_labels_H):
        per_class = _per_class(evidence, None)
        return {"accuracy": None, "calibration": None, "confusion": None, "per_class": per_class}
    probs_HC = head.probs(evidence.holdout_embeddings_HD)
    before_HC = replace(head, temperature=1.0).probs(evidence.holdout_embeddings_HD)
    found = evaluate(probs_HC, evidence.holdout_labels_H, evidence.classes, seed=evidence.seed)
    return {
        "accuracy": estimate(found.accuracy, found.n),
        "calibration": _calibration(before_HC, probs_HC, evidence),
        "confusion": [list(row) for row in found.confusion_CC],
        "per_class": _per_class(evidence, found),
    }


def estimate(measure: Measure, n: int) -> dict[str, Any] | None:
    """Return a measure with its 95 % bounds as JSON has it; None where it cannot be told."""
    if measure.value is None:
        return None
    return {"value": measure.value, "low": measure.low, "high": measure.high, "n": n}


def _calibration(
    before_HC: NDArray[np.float32], after_HC: NDArray[np.float32], evidence: Evidence
) -> dict[str, Any]:
    labels_H = evidence.holdout_labels_H
    before = calibration_error(before_HC, labels_H, seed=evidence.seed)
    after = calibration_error(after_HC, labels_H, seed=evidence.seed)
    assert before is not None
    assert after is not None
    confidence_H = after_HC.max(axis=1).astype(np.float64)
    right_H = after_HC.argmax(axis=1) == labels_H
    bin_H = bins_of_equal_mass(confidence_H)
    bins = [
        {
            "confidence": float(confidence_H[bin_H == each].mean()),
            "accuracy": float(right_H[bin_H == each].mean()),
            "n": int((bin_H == each).sum()),
        }
        for each in range(int(bin_H.max()) + 1)
    ]
    return {"before": before.value, "after": after.value, "bins": bins}


def _per_class(evidence: Evidence, found: Evaluation | None) -> list[dict[str, Any]]:
    """Count labels to learn from and the pool's predictions, with precision and recall."""
    n_classes = len(evidence.classes)
    labels_C = np.bincount(evidence.labels_M, minlength=n_classes)
    pool_C: list[int] = [0] * n_classes
    if evidence.probs_NC is not None and len(evidence.probs_NC):
        said_N = evidence.probs_NC.argmax(axis=1)
        pool_C = np.bincount(said_N, minlength=n_classes).tolist()
    return [
        {
            "class": name,
            "labels": int(labels_C[row]),
            "pool_predicted": pool_C[row],
            **_precision_and_recall(found, row),
        }
        for row, name in enumerate(evidence.classes)
    ]


def _precision_and_recall(found: Evaluation | None, row: int) -> dict[str, Any]:
    if found is None:
        return {"precision": None, "recall": None}
    one = found.per_class[row]
    return {
        "precision": estimate(one.precision, one.predicted),
        "recall": estimate(one.recall, one.support),
    }
