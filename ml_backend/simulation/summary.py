"""From curves to what can be told: areas, gains over random, labels to reach an accuracy.

Knows the numbers of finished cells; no files. Everything is told with its interval over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml_backend.simulation.cells import Cell
from ml_backend.simulation.measures import (
    Comparison,
    Estimate,
    aulc,
    compared,
    estimate,
    labels_to_reach,
    share,
)
from ml_backend.simulation.replay import Curve

REFERENCE = "random"


@dataclass(frozen=True, slots=True)
class Reach:
    """The labels that an accuracy took: over the seeds that got there, `reached` of `seeds`.

    `saved` is what random took more on the same splits. None where one of both did not get there
    under some seed: the splits on which it did are its lucky ones.
    """

    accuracy: float
    reached: int
    seeds: int
    labels: Estimate | None
    saved: Estimate | None


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy on one backbone. `gain` is over random on the same splits; random has none."""

    backbone: str
    strategy: str
    aulc: Estimate
    gain: Comparison | None
    reaches: tuple[Reach, ...]
    curve: tuple[tuple[int, Estimate], ...]  # (labels, accuracy)
    rank_s: float  # a round, on one core
    fit_s: float

    @property
    def name(self) -> str:
        """Name the row among others."""
        return f"{self.strategy} on {self.backbone}"


def summarise(curves: Mapping[Cell, Curve], accuracies: Sequence[float]) -> list[Row]:
    """Return a row for each backbone and strategy, best area first. `random` must be among them."""
    grouped: dict[tuple[str, str], list[Curve]] = {}
    for cell in sorted(curves, key=lambda cell: cell.seed):
        grouped.setdefault((cell.backbone, cell.contender), []).append(curves[cell])
    areas = {key: areas_of(runs) for key, runs in grouped.items()}
    pairs = {
        f"{strategy} on {backbone}": (areas[backbone, strategy], areas[backbone, REFERENCE])
        for backbone, strategy in grouped
        if strategy != REFERENCE
    }
    gains = compared(pairs)
    rows = [
        _row(backbone, strategy, runs, grouped[backbone, REFERENCE], accuracies)
        for (backbone, strategy), runs in grouped.items()
    ]
    with_gains = [replace(row, gain=gains.get(row.name)) for row in rows]
    return sorted(with_gains, key=lambda row: -row.aulc.mean)


def areas_of(runs: Sequence[Curve]) -> list[float]:
    """Return the area under each learning curve."""
    return [aulc(run.budgets, run.accuracies) for run in runs]


def _row(
    backbone: str,
    strategy: str,
    runs: Sequence[Curve],
    random: Sequence[Curve],
    accuracies: Sequence[float],
) -> Row:
    seeds_at_each_budget = zip(*(run.accuracies for run in runs), strict=True)
    return Row(
        backbone=backbone,
        strategy=strategy,
        aulc=share(areas_of(runs)),
        gain=None,
        reaches=tuple(_reach(runs, random, target) for target in accuracies),
        curve=tuple(zip(runs[0].budgets, map(share, seeds_at_each_budget), strict=True)),
        rank_s=float(np.mean([run.rank_s for run in runs])),
        fit_s=float(np.mean([run.fit_s for run in runs])),
    )


def _reach(runs: Sequence[Curve], random: Sequence[Curve], target: float) -> Reach:
    took = [labels_to_reach(run.budgets, run.accuracies, target) for run in runs]
    random_took = [labels_to_reach(run.budgets, run.accuracies, target) for run in random]
    got_there = [labels for labels in took if labels is not None]
    saved = [
        theirs - ours
        for ours, theirs in zip(took, random_took, strict=True)
        if ours is not None and theirs is not None
    ]
    paired = len(saved) == len(runs) and runs is not random
    return Reach(
        accuracy=target,
        reached=len(got_there),
        seeds=len(runs),
        labels=estimate(got_there) if got_there else None,
        saved=estimate(saved) if paired else None,
    )
