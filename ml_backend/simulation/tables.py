"""A simulation's rows as tables of words: the same for a terminal, a page and a document.

Knows how numbers are written for people. Accuracies and areas are told in points (per cent).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml_backend.simulation.measures import Comparison, Estimate
from ml_backend.simulation.summary import Reach, Row

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A heading over each column, and rows of cells."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def comparison_table(rows: Sequence[Row]) -> Table:
    """Tell area, gain over random and cost of each row, best first."""
    return Table(
        f"Area under the learning curve in points, 95 % intervals over {rows[0].aulc.n} seeds",
        (*_named(rows)[0], "area", "gain over random", "p (Holm)", "better", "s a round"),
        tuple(
            (
                *name,
                as_points(row.aulc),
                as_points(row.gain.difference, signed=True) if row.gain else NOTHING,
                _p(row.gain.p_holm) if row.gain else NOTHING,
                f"{row.gain.wins} of {row.gain.difference.n}" if row.gain else NOTHING,
                f"{row.rank_s:.2f} + {row.fit_s:.2f}",
            )
            for name, row in zip(_named(rows)[1:], rows, strict=True)
        ),
    )


def labels_table(rows: Sequence[Row]) -> Table:
    """Tell how many labels each accuracy took, and how many were saved against random."""
    targets = [f"{100 * reach.accuracy:g} %" for reach in rows[0].reaches]
    return Table(
        "Labels until an accuracy is reached, and labels saved against random on the same splits",
        (*_named(rows)[0], *targets),
        tuple(
            (*name, *(_reached(reach, row) for reach in row.reaches))
            for name, row in zip(_named(rows)[1:], rows, strict=True)
        ),
    )


def curve_table(rows: Sequence[Row]) -> Table:
    """Tell the accuracy after each budget of labels."""
    return Table(
        "Accuracy in % by labels, with 95 % intervals",
        ("labels", *(", ".join(name) for name in _named(rows)[1:])),
        tuple(
            (str(points[0][0]), *(as_points(each) for _, each in points))
            for points in zip(*(row.curve for row in rows), strict=True)
        ),
    )


def as_points(share: Estimate, *, signed: bool = False) -> str:
    """Write a share in points with its interval, as in 90.7 (89.9 to 91.5)."""
    form = "+.1f" if signed else ".1f"
    if share.low is None or share.high is None:
        return f"{100 * share.mean:{form}}"
    return f"{100 * share.mean:{form}} ({100 * share.low:{form}} to {100 * share.high:{form}})"


def as_labels(saved: Estimate) -> str:
    """Write labels saved with their interval, as in +9 (+4 to +15)."""
    if saved.low is None or saved.high is None:
        return f"{round(saved.mean):+d}"
    return f"{round(saved.mean):+d} ({round(saved.low):+d} to {round(saved.high):+d})"


def chance(gain: Comparison) -> str:
    """Say how likely such a difference is by luck."""
    number = _p(gain.p_holm)
    return f"p {number if number.startswith('<') else f'= {number}'} after Holm"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _named(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return heading and names; the backbone is named where there are several."""
    if len({row.backbone for row in rows}) == 1:
        return [("strategy",), *((row.strategy,) for row in rows)]
    return [("strategy", "backbone"), *((row.strategy, row.backbone) for row in rows)]


def _reached(reach: Reach, row: Row) -> str:
    if reach.labels is None:
        return f"not with {row.curve[-1][0]}"
    text = f"{reach.labels.mean:.0f}"
    if reach.reached < reach.seeds:
        text += f" on {reach.reached} of {reach.seeds}"
    return text if reach.saved is None else f"{text}; saved {as_labels(reach.saved)}"
