"""The finding `labels_saved`: from a comparison of curves to numbers that may be told, in words.

Knows a `Saving`; no embeddings. A saving is told only if its interval is all on one side of 0
and no random order would have got as far by luck.
"""

from __future__ import annotations

from typing import Any

from ml_backend.appraisal.saving import Saving

CANNOT_TELL, MEASURED = "cannot tell yet", "measured"
LEAST_HOLDOUT = 40  # labels; with fewer, nothing that a queue can save is told from chance
PART_TO_LEARN_FROM = 4  # the random labels are a quarter of the holdout: see docs/appraisal.md
LEAST_A_CLASS = 2  # but so many a class, as far as half the holdout has them
Z_95 = 1.959964
MOST_TIMES = 10  # an advice to label more than ten times the audit helps nobody


def random_labels(n_holdout: int, n_classes: int) -> int:
    """Say how many random labels the queue's are compared with."""
    at_least = min(LEAST_A_CLASS * n_classes, n_holdout // 2)
    return max(n_holdout // PART_TO_LEARN_FROM, at_least, 1)


def nothing(sentence: str, more_audit_labels: int | None = None) -> dict[str, Any]:
    """Return the finding where there is nothing to compare."""
    return {
        "state": CANNOT_TELL,
        "value": None,
        "low": None,
        "high": None,
        "queue_labels": None,
        "random_labels": None,
        "accuracy": None,
        "sentence": sentence,
        "more_audit_labels": more_audit_labels,
    }


def told(saving: Saving, n_holdout: int) -> dict[str, Any]:
    """Return the finding: how many labels fewer the queue needed than a random order, and bounds.

    The bounds are there even where nothing is claimed, as far as they are known.
    """
    low = None if saving.high is None else saving.random_labels - round(saving.high)
    high = None if saving.low is None else saving.random_labels - round(saving.low)
    queue_labels = None if saving.queue_labels is None else round(saving.queue_labels)
    value = None if queue_labels is None else saving.random_labels - queue_labels
    measured = value is not None and _one_sided(low, high) and abs(saving.z) >= Z_95
    more = None if measured else more_audit_labels(saving.z, n_holdout)
    return {
        "state": MEASURED if measured else CANNOT_TELL,
        "value": value,
        "low": low,
        "high": high,
        "queue_labels": queue_labels,
        "random_labels": saving.random_labels,
        "accuracy": saving.accuracy,
        "sentence": _measured(saving, value, low, high) if measured else _open(saving, more),
        "more_audit_labels": more,
    }


def more_audit_labels(z: float, n_holdout: int) -> int | None:
    """Say how many more audit labels would most likely settle it; None: more than anybody has.

    The difference of the curves at the same number of labels lies z standard errors from 0, and
    1.96 are needed. The error shrinks with the root of the holdout, if the difference stays.
    """
    if abs(z) * MOST_TIMES**0.5 < Z_95:
        return None
    needed = n_holdout * (Z_95 / abs(z)) ** 2
    return max(round(needed) - n_holdout, n_holdout // 10)


def _one_sided(low: int | None, high: int | None) -> bool:
    if low is None or high is None:
        return False
    return low > 0 or high < 0


def _measured(saving: Saving, value: int | None, low: int | None, high: int | None) -> str:
    assert saving.queue_labels is not None
    assert value is not None
    first = f"With its first {round(saving.queue_labels)} labels the queue taught the model as much"
    rest = f"as {saving.random_labels} random ones do"
    if value > 0:
        return f"{first} {rest}: {value} labels saved [{low}, {high}]."
    assert low is not None
    assert high is not None
    return f"{first} {rest}: {-value} labels more than a random order needs [{-high}, {-low}]."


def _open(saving: Saving, more: int | None) -> str:
    said = (
        f"Whether the queue teaches more than {saving.random_labels} random labels do cannot be "
        "told from chance yet"
    )
    return f"{said}; about {more} more audit labels may tell." if more else f"{said}."
