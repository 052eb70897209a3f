"""Why a task stands where it stands: numbers, and a sentence for the people who label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strategies.order import CERTAIN_TAIL, IN_TURN, PICKED, REPEATS
from strategies.query import Picks, Query
from strategies.uncertainty import two_least_sure, two_likeliest

_SAID = {
    "random": "drawn at random",
    "fills": "much like tasks that are labeled or come earlier",
    "far": "unlike anything labeled or earlier in the queue",
    "typical": "typical of a group of tasks",
    "informative": "would move the model much",
    "similar": "looks like the examples",
    "turn": "comes when its part of the pool has its turn",
    "certain": "the model is sure of it",
    "repeats": "nearly the same as a task that is labeled or comes earlier",
    "covered": "labeled, held or skipped since the queue was made",
}
_SURE = 0.8  # with the likeliest class this far ahead, "hesitates" would be untrue
_KIND_OF_PART = {PICKED: "fills", IN_TURN: "turn", CERTAIN_TAIL: "certain", REPEATS: "repeats"}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one task is in the head of the queue.

    kind: covers (it stands for much that is open), uncertain, random, far, typical, informative,
    similar (to the examples), or fills (nothing is left to gain; it takes its turn). Behind the
    head: turn (of its part of the pool), certain, repeats, or covered (labeled, held or skipped
    since the ranking was made). classes and probs: the two likeliest, empty without a model.
    coverage: share of what is still open that it stands for, in [0, 1].
    """

    kind: str
    uncertainty: float | None = None
    classes: tuple[int, ...] = ()
    probs: tuple[float, ...] = ()
    coverage: float | None = None
    cold_start: bool = False
    several: bool = False  # each class is a question of its own; those most in doubt are named

    def text(self, class_names: Sequence[str] | None = None) -> str:
        """Return one short sentence; classes by name where the names are given."""
        said = [self._why(), self._doubt(class_names)]
        sentence = "; ".join(part for part in said if part)
        return f"{sentence[:1].upper()}{sentence[1:]}."

    def _why(self) -> str:
        start = "no model yet: " if self.cold_start else ""
        if self.kind == "covers":
            return f"{start}stands for {_percent(self.coverage or 0.0)} of what is still open"
        return f"{start}{_SAID[self.kind]}" if self.kind in _SAID else ""

    def _doubt(self, class_names: Sequence[str] | None) -> str:
        if not self.classes or self.kind == "random":
            return ""
        named = [
            f"{class_names[c] if class_names is not None else f'class {c}'} ({_percent(p)})"
            for c, p in zip(self.classes, self.probs, strict=True)
        ]
        if len(named) < 2:
            return "the model knows one class only"
        if self.several:
            return f"the model is least sure about {named[0]} and {named[1]}"
        if self.probs[0] - self.probs[1] > _SURE:
            return f"the model says {named[0]}"
        return f"the model hesitates between {named[0]} and {named[1]}"


def reasons_for_head(
    query: Query, picks: Picks, head_rows: Sequence[int], *, kind: str, cold: bool
) -> tuple[Reason, ...]:
    """Return one Reason for each of `head_rows`, the first rows of the finished order.

    `kind` is said of what the strategy picked; what merely follows the picks `fills`.
    """
    classes_H, probs_H = _likeliest(query, head_rows)
    unsure_N, coverage_K = picks.uncertainty_N, picks.coverage_K
    n_picked = len(picks.rows_K)
    return tuple(
        Reason(
            kind=kind if place < n_picked else "fills",
            uncertainty=None if unsure_N is None else float(unsure_N[row]),
            classes=classes_H[place],
            probs=probs_H[place],
            coverage=None if coverage_K is None or place >= n_picked else float(coverage_K[place]),
            cold_start=cold,
            several=query.candidates.multi_label,
        )
        for place, row in enumerate(head_rows)
    )


def reason_behind(query: Query, picks: Picks, row: int, *, part: int, covered: bool) -> Reason:
    """Return why a task stands behind the head, from the part of the order that it belongs to."""
    classes_1, probs_1 = _likeliest(query, [row])
    unsure_N = picks.uncertainty_N
    return Reason(
        kind="covered" if covered else _KIND_OF_PART[part],
        uncertainty=None if unsure_N is None else float(unsure_N[row]),
        classes=classes_1[0],
        probs=probs_1[0],
        several=query.candidates.multi_label,
    )


def _likeliest(
    query: Query, rows: Sequence[int]
) -> tuple[list[tuple[int, ...]], list[tuple[float, ...]]]:
    probs_NC = query.candidates.probs_NC
    if probs_NC is None:
        return [()] * len(rows), [()] * len(rows)
    probs_HC = probs_NC[list(rows)]
    pair = two_least_sure if query.candidates.multi_label else two_likeliest
    classes_H2, probs_H2 = pair(probs_HC)
    return [tuple(row) for row in classes_H2.tolist()], [tuple(row) for row in probs_H2.tolist()]


def _percent(share: float) -> str:
    percent = 100.0 * share
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else "less than 1 %"
