"""How far a run is, and whether that is enough. Knows numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.run.config import Labeling


@dataclass(frozen=True)
class Standing:
    """How a run stands. Accuracies and intervals are shares of 1, on the holdout."""

    labeled: int
    tasks: int
    hours: float = 0.0  # that the run has been open
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    classes: dict[str, int] = field(default_factory=dict)  # labels of each
    queue: str = ""  # whether the queue is in order, in words
    left: int | None = None  # images that somebody could still label; None: tasks - labeled

    @classmethod
    def accuracy_of(cls, report: Mapping[str, Any]) -> dict[str, Any]:
        """Read the two accuracy fields from a round's report."""
        interval = report.get("holdout_interval")
        return {
            "accuracy": report.get("holdout_accuracy"),
            "interval": None if interval is None else (interval[0], interval[1]),
        }


def reached(labeling: Labeling, now: Standing) -> str | None:
    """Say which target is reached, None while none is."""
    target, most = labeling.target, labeling.most_labels()
    left = now.tasks - now.labeled if now.left is None else now.left
    if most is not None and now.labeled >= most:
        return f"{now.labeled} images are labeled, {most} were wanted"
    if target.accuracy is not None and now.interval and now.interval[0] >= target.accuracy:
        return (
            f"the accuracy on the holdout is {now.interval[0]:.1%} at least, "
            f"{target.accuracy:.1%} was wanted"
        )
    if target.hours is not None and now.hours >= target.hours:
        return f"the run has been open for {now.hours:.1f} hours, {target.hours:g} were wanted"
    return "everything that can be is labeled" if now.tasks and left <= 0 else None


def labels_to_go(labeling: Labeling, now: Standing) -> int:
    """Return how many labels are missing to the target by labels, or to all."""
    return max(min(labeling.most_labels() or now.tasks, now.tasks) - now.labeled, 0)
