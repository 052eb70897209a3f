"""Which strategy and which backbone to take, in words, by a rule that is stated with them.

Knows a simulation's rows and curves. Advises nothing that the numbers do not carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_backend.simulation.cells import Cell
from ml_backend.simulation.measures import Comparison, compared
from ml_backend.simulation.replay import Curve
from ml_backend.simulation.summary import REFERENCE, Row, areas_of
from ml_backend.simulation.tables import as_points, chance

RULE = (
    "Taken is the strategy with the best mean area under the learning curve among those whose "
    "paired 95 % interval against random excludes 0 after Holm's correction over all comparisons "
    "of this table; where there is none: no difference on this data."
)


@dataclass(frozen=True, slots=True)
class Advice:
    """What to take, and why. `strategy` None: none is better than random on this data."""

    strategy: str | None
    backbone: str | None  # None where the backbones are not told apart, or there is one alone
    sentences: tuple[str, ...]
    rule: str = RULE


def advise(rows: Sequence[Row], curves: Mapping[Cell, Curve]) -> Advice:
    """Apply the rule to rows that are sorted by area, best first."""
    better = [row for row in rows if row.gain is not None and row.gain.is_better]
    worse = [row for row in rows if row.gain is not None and row.gain.is_worse]
    chosen = better[0] if better else None
    sentences = [_taken(chosen) if chosen else _no_difference(rows)]
    if chosen:
        sentences += _runner_up(chosen, better[1:], curves)
    sentences += [f"{row.name} loses: {_points(row.gain, REFERENCE)}." for row in worse if row.gain]
    strategy = chosen.strategy if chosen else None
    backbone, told = _best_backbone(strategy or REFERENCE, curves)
    return Advice(strategy, backbone, tuple(sentences + told))


def _taken(row: Row) -> str:
    assert row.gain is not None
    return (
        f"Take {row.strategy} (on {row.backbone}): {_points(row.gain, REFERENCE)}, better on "
        f"{row.gain.wins} of {row.gain.difference.n} splits."
    )


def _no_difference(rows: Sequence[Row]) -> str:
    if all(row.gain is None for row in rows):
        return "No difference on this data: nothing was compared with random."
    return (
        "No difference on this data: no strategy is better than random order by more than luck. "
        "More seeds may tell smaller differences apart."
    )


def _runner_up(chosen: Row, others: Sequence[Row], curves: Mapping[Cell, Curve]) -> list[str]:
    rivals = {
        row.strategy: (
            _areas(curves, chosen.backbone, chosen.strategy),
            _areas(curves, row.backbone, row.strategy),
        )
        for row in others
        if row.backbone == chosen.backbone
    }
    level = [name for name, each in compared(rivals).items() if not each.is_better]
    if not level:
        return []
    return [f"Not told apart from it on this data: {', '.join(level)}."]


def _best_backbone(strategy: str, curves: Mapping[Cell, Curve]) -> tuple[str | None, list[str]]:
    """Compare the backbones under one strategy: the splits are the same, so these are pairs too."""
    names = list(dict.fromkeys(cell.backbone for cell in curves))
    if len(names) == 1:
        return None, []
    areas = {name: _areas(curves, name, strategy) for name in names}
    best = max(names, key=lambda name: sum(areas[name]))
    rivals = {name: (areas[best], areas[name]) for name in names if name != best}
    against = compared(rivals)
    level = [name for name, each in against.items() if not each.is_better]
    if level:
        return None, [f"Backbones: {best} is not told apart from {', '.join(level)} on this data."]
    told = ", ".join(_points(each, name) for name, each in against.items())
    return best, [f"Take the backbone {best}: {told} (under {strategy})."]


def _areas(curves: Mapping[Cell, Curve], backbone: str, strategy: str) -> list[float]:
    cells = [c for c in curves if (c.backbone, c.contender) == (backbone, strategy)]
    return areas_of([curves[cell] for cell in sorted(cells, key=lambda cell: cell.seed)])


def _points(gain: Comparison, over: str) -> str:
    mean, _, interval = as_points(gain.difference, signed=True).partition(" (")
    return f"{mean} points of area over {over} ({interval.rstrip(')')}, {chance(gain)})"
