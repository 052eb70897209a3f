"""The story of an appraisal: every finding, in the order in which a page tells them.

Knows the findings' modules; no store, no Label Studio, no web.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ml_backend.appraisal.curve_findings import curve_findings
from ml_backend.appraisal.evidence import Evidence
from ml_backend.appraisal.heads import answers
from ml_backend.appraisal.label_findings import label_findings
from ml_backend.appraisal.measures import holdout_findings
from ml_backend.appraisal.plane import METHOD, lay_out
from ml_backend.appraisal.stopping import Bounded, lacking, stability, verdict


def appraise(evidence: Evidence) -> dict[str, Any]:
    """Return what JSON can hold under these keys.

    accuracy, curve, labels_saved, calibration, confusion, per_class, suspects, disagreements,
    second_opinions, advice, map. Every key is always there; None where nothing can be told.
    The same evidence gives the same appraisal. Raises ValueError naming arrays that do not fit.
    """
    evidence.check()
    # One thread: it runs beside rounds and annotators, and many small products gain nothing.
    with threadpool_limits(1, user_api="blas"):
        measured = holdout_findings(evidence)
        curves = curve_findings(evidence)
        return {
            **measured,
            "curve": curves.curve,
            "labels_saved": curves.labels_saved,
            **label_findings(evidence),
            "advice": _advice(evidence, curves.gain, measured["per_class"]),
            "map": _map(evidence),
        }


def _advice(
    evidence: Evidence, gain: Bounded | None, per_class: list[dict[str, Any]]
) -> dict[str, Any]:
    agreement = _agreement(evidence)
    labels_C = np.array([each["labels"] for each in per_class], np.int64)
    recall_high_C = [each["recall"] and each["recall"]["high"] for each in per_class]
    lacks = lacking(evidence.classes, labels_C, recall_high_C)
    said, sentence = verdict(gain, agreement, len(evidence.holdout_labels_H), lacks)
    return {
        "verdict": said,
        "sentence": sentence,
        "gain_next_100": gain and gain.as_dict(),
        "agreement": agreement and agreement.as_dict(),
        "lacking": [
            {"class": each.name, "labels": each.labels, "sentence": each.sentence} for each in lacks
        ],
    }


def _agreement(evidence: Evidence) -> Bounded | None:
    """Compare with the model before on those of its sample that are still in the pool."""
    if evidence.previous_predictions is None or evidence.probs_NC is None:
        return None
    row_of = {task: row for row, task in enumerate(evidence.pool_ids_N.tolist())}
    both = {t: row for t, row in evidence.previous_predictions.items() if t in row_of}
    rows = np.array([row_of[task] for task in both], np.int64)
    before = np.array(list(both.values()), np.int64)
    return stability(before, evidence.probs_NC[rows].argmax(axis=1), len(evidence.classes))


def _map(evidence: Evidence) -> dict[str, Any]:
    classes, head = evidence.classes, evidence.head
    said_K = None if head is None else answers(head, evidence.map_embeddings_KD).tolist()
    unsure: dict[int, float] = {}
    if evidence.uncertainty_N is not None:
        pairs = zip(evidence.pool_ids_N.tolist(), evidence.uncertainty_N.tolist(), strict=True)
        unsure = {task: value for task, value in pairs if not np.isnan(value)}  # not of the audit
    spots_K2 = lay_out(evidence.map_embeddings_KD)
    points = [
        {
            "task": task,
            "x": round(x, 4),
            "y": round(y, 4),
            "label": classes[label] if label >= 0 else None,
            "predicted": None if said_K is None else classes[said_K[place]],
            "uncertainty": unsure.get(task),
        }
        for place, (task, label, (x, y)) in enumerate(
            zip(
                evidence.map_ids_K.tolist(),
                evidence.map_labels_K.tolist(),
                spots_K2.tolist(),
                strict=True,
            )
        )
    ]
    return {"method": METHOD, "of": _size(evidence), "points": points}


def _size(evidence: Evidence) -> int:
    """Count the images that the map is a sample of."""
    parts = (evidence.labeled_ids_M, evidence.holdout_ids_H, evidence.pool_ids_N)
    return sum(len(part) for part in parts)
