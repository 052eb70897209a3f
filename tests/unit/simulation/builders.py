"""Small labeled sets and curves for the tests of simulations."""

from __future__ import annotations

import numpy as np

from ml_backend.simulation.cells import Cell
from ml_backend.simulation.replay import Curve, LabeledSet


def blobs(per_class: int = 20, n_classes: int = 3, *, spread: float = 1.5) -> LabeledSet:
    """Clouds of points around one corner a class, in 8 dimensions."""
    rng = np.random.default_rng(7)
    labels_N = np.repeat(np.arange(n_classes), per_class)
    corners_CD = 3 * np.eye(n_classes, 8)
    points_ND = corners_CD[labels_N] + spread * rng.standard_normal((len(labels_N), 8))
    names = tuple(f"class {number}" for number in range(n_classes))
    return LabeledSet(names, labels_N, points_ND.astype(np.float32))


def curve(*accuracies: float) -> Curve:
    """A curve over 10, 20, 30 ... labels whose rounds cost 0.2 + 0.1 s."""
    budgets = tuple(range(10, 10 * len(accuracies) + 1, 10))
    return Curve(budgets, accuracies, (0.2,) * len(budgets), (0.1,) * len(budgets))


def flat_curves(backbone: str, **heights: list[float]) -> dict[Cell, Curve]:
    """Constant curves: for each strategy its height under each seed, which is its area too."""
    return {
        Cell(backbone, strategy, seed): curve(height, height)
        for strategy, by_seed in heights.items()
        for seed, height in enumerate(by_seed)
    }
