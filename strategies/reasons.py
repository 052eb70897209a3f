"""Why a task stands where it stands: numbers, and a sentence for the people who label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strategies.query import Picks, Query
from strategies.uncertainty import two_likeliest


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one task is in the head of the queue.

    kind: covers (it stands for much that is open), uncertain, random, or fills (nothing is left
    to gain; it takes its turn). classes and probs: the two likeliest, empty without a model.
    coverage: share of what is still open that it stands for, in [0, 1].
    """

    kind: str
    uncertainty: float | None = None
    classes: tuple[int, ...] = ()
    probs: tuple[float, ...] = ()
    coverage: float | None = None
    cold_start: bool = False

    def text(self, class_names: Sequence[str] | None = None) -> str:
        """Return one short sentence; classes by name where the names are given."""
        said = [self._why(), self._doubt(class_names)]
        sentence = "; ".join(part for part in said if part)
        return f"{sentence[:1].upper()}{sentence[1:]}."

    def _why(self) -> str:
        start = "no model yet: " if self.cold_start else ""
        if self.kind == "covers":
            return f"{start}stands for {_percent(self.coverage or 0.0)} of what is still open"
        if self.kind == "random":
            return f"{start}drawn at random"
        if self.kind == "fills":
            return f"{start}much like tasks that are labeled or come earlier"
        return ""

    def _doubt(self, class_names: Sequence[str] | None) -> str:
        if not self.classes or self.kind == "random":
            return ""
        named = [
            f"{class_names[c] if class_names is not None else f'class {c}'} ({_percent(p)})"
            for c, p in zip(self.classes, self.probs, strict=True)
        ]
        return f"the model hesitates between {' and '.join(named)}" if len(named) > 1 else ""


def reasons_for_head(
    query: Query, picks: Picks, head_rows: Sequence[int], *, cold: bool, kind: str
) -> tuple[Reason, ...]:
    """Return one Reason for each of `head_rows`, the first rows of the finished order."""
    probs_NC = query.candidates.probs_NC
    likeliest = None if probs_NC is None else two_likeliest(probs_NC[list(head_rows)])
    reasons = []
    for place, row in enumerate(head_rows):
        picked = place < len(picks.rows_K)
        unsure = picks.uncertainty_N
        reasons.append(
            Reason(
                kind=kind if picked else "fills",
                uncertainty=None if unsure is None else float(unsure[row]),
                classes=() if likeliest is None else tuple(likeliest[0][place].tolist()),
                probs=() if likeliest is None else tuple(likeliest[1][place].tolist()),
                coverage=float(picks.coverage_K[place])
                if picked and picks.coverage_K is not None
                else None,
                cold_start=cold,
            )
        )
    return tuple(reasons)


def _percent(share: float) -> str:
    percent = 100.0 * share
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else "less than 1 %"
