"""The findings that need learning curves: the curves themselves, labels saved, the next gain.

Knows evidence and the modules that measure; says in `note` what the curves are and why there are
none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.appraisal import labels_saved
from ml_backend.appraisal.curves import RandomArm, queue_right, random_arm, sizes
from ml_backend.appraisal.evidence import Evidence
from ml_backend.appraisal.saving import compare
from ml_backend.appraisal.stopping import Bounded, gain_of_next
from ml_backend.learning.evaluation import proportion

POINTS = 12  # on the queue's curve, and as many where the two are compared
RANDOM_POINTS = 5
RANDOM_HEADS, COMPARED_HEADS = 10, 20  # the latter where the saving is measured
LEAST_HOLDOUT = 10  # labels; a curve measured on fewer shows nothing but chance
FARTHEST = 4  # times the random labels: where the queue's curve is looked for them
SEEN = (
    "The network in force was trained on these labels, and there are no embeddings of the one "
    "before it to draw a curve from."
)


@dataclass(frozen=True, slots=True)
class CurveFindings:
    """`curve` and `labels_saved` as the appraisal has them; the gain of the next labels."""

    curve: dict[str, Any]
    labels_saved: dict[str, Any]
    gain: Bounded | None


def curve_findings(evidence: Evidence) -> CurveFindings:
    """Draw both curves and compare them."""
    arrays = evidence.curve_arrays()
    n_queue, n_holdout = len(evidence.labels_M), len(evidence.holdout_labels_H)
    if arrays is None:
        return _none(evidence, SEEN)
    if n_holdout < LEAST_HOLDOUT or n_queue < 2:
        return _none(
            evidence,
            f"{n_queue} labels of the queue and {n_holdout} of the audit: at least 2 and "
            f"{LEAST_HOLDOUT} are needed to draw a curve.",
        )
    rng = np.random.default_rng(evidence.seed)
    arms = _random_arms(evidence, arrays[1], rng)
    shown_S = sizes(min(len(evidence.classes), n_queue), n_queue, POINTS)
    arm = arms[labels_saved.random_labels(n_holdout, len(evidence.classes))]
    compared_S = _compared(evidence, arm.n_labels)
    all_S = np.union1d(shown_S, compared_S)
    right_SH = queue_right(
        arrays[0],
        evidence.labels_M,
        all_S,
        arrays[1],
        evidence.holdout_labels_H,
        len(evidence.classes),
    )
    shown_SH = right_SH[np.isin(all_S, shown_S)]
    return CurveFindings(
        {
            "queue": [_queue_point(n, each) for n, each in zip(shown_S, shown_SH, strict=True)],
            "random": [_random_point(each) for each in arms.values()],
            "note": evidence.curve_note,
        },
        _saved(evidence, compared_S, right_SH[np.isin(all_S, compared_S)], arm, rng),
        gain_of_next(shown_S, shown_SH, rng=rng),
    )


def _none(evidence: Evidence, why: str) -> CurveFindings:
    note = " ".join(part for part in (evidence.curve_note, why) if part)
    nothing = labels_saved.nothing(why)
    return CurveFindings({"queue": [], "random": [], "note": note}, nothing, None)


def _random_arms(
    evidence: Evidence, embeddings_HD: NDArray[np.float32], rng: np.random.Generator
) -> dict[int, RandomArm]:
    """Measure random labels up to half the holdout, which leaves the other half to test on."""
    n_classes, half = len(evidence.classes), len(embeddings_HD) // 2
    compared = labels_saved.random_labels(len(embeddings_HD), n_classes)
    all_R = np.union1d(sizes(min(n_classes, half), half, RANDOM_POINTS), [compared]).tolist()
    return {
        n: random_arm(
            embeddings_HD,
            evidence.holdout_labels_H,
            n,
            n_classes,
            heads=COMPARED_HEADS if n == compared else RANDOM_HEADS,
            rng=rng,
        )
        for n in all_R
    }


def _compared(evidence: Evidence, random_labels: int) -> NDArray[np.int64]:
    """Say at which sizes the queue's curve is compared; none where it is not that long yet."""
    most = min(len(evidence.labels_M), FARTHEST * random_labels)
    if most < random_labels or len(evidence.holdout_labels_H) < labels_saved.LEAST_HOLDOUT:
        return np.empty(0, np.int64)
    least = min(max(len(evidence.classes) // 2, 2), random_labels)
    return np.union1d(sizes(least, most, POINTS), [random_labels])


def _saved(
    evidence: Evidence,
    sizes_S: NDArray[np.int64],
    right_SH: NDArray[np.bool_],
    arm: RandomArm,
    rng: np.random.Generator,
) -> dict[str, Any]:
    n_holdout = len(evidence.holdout_labels_H)
    if n_holdout < labels_saved.LEAST_HOLDOUT:
        missing = labels_saved.LEAST_HOLDOUT - n_holdout
        why = f"{missing} more audit labels are needed to compare with a random order."
        return labels_saved.nothing(why, missing)
    if not len(sizes_S):
        why = f"The queue has fewer labels than the {arm.n_labels} random ones to compare with."
        return labels_saved.nothing(why)
    return labels_saved.told(compare(sizes_S, right_SH, arm, rng=rng), n_holdout)


def _queue_point(n: np.int64, right_H: NDArray[np.bool_]) -> dict[str, Any]:
    share = proportion(int(right_H.sum()), len(right_H))
    return {"labels": int(n), "value": share.value, "low": share.low, "high": share.high}


def _random_point(arm: RandomArm) -> dict[str, Any]:
    half = labels_saved.Z_95 * (arm.right_H.var() / len(arm.right_H) + arm.variance) ** 0.5
    return {
        "labels": arm.n_labels,
        "value": arm.accuracy,
        "low": float(max(arm.accuracy - half, 0.0)),
        "high": float(min(arm.accuracy + half, 1.0)),
    }
