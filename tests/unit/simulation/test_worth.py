"""The tables of docs/results.md: losses are shown, and the audit is paid for."""

from __future__ import annotations

import numpy as np

from benchmarks.image_sets import ImageSet
from benchmarks.worth import LEVELS, Measured, end_of, page
from ml_backend.simulation.advice import advise
from ml_backend.simulation.cells import Cell
from ml_backend.simulation.replay import Curve
from ml_backend.simulation.summary import summarise

BUDGETS = (10, 100, 190)
HEIGHTS = {
    "uherding": [(0.45, 0.65, 0.85), (0.46, 0.66, 0.86), (0.44, 0.64, 0.84)],
    "margin": [(0.35, 0.46, 0.65), (0.34, 0.45, 0.66), (0.36, 0.44, 0.64)],
    "entropy": [(0.25, 0.35, 0.45), (0.26, 0.36, 0.46), (0.24, 0.34, 0.44)],
    "random": [(0.35, 0.45, 0.65), (0.36, 0.46, 0.66), (0.34, 0.44, 0.64)],
}


def told() -> str:
    curves = {
        Cell("pixels", name, seed): Curve(BUDGETS, heights, (0.0,) * 3, (0.0,) * 3)
        for name, runs in HEIGHTS.items()
        for seed, heights in enumerate(runs)
    }
    rows = summarise(curves, LEVELS)
    images = ImageSet(
        ("a", "b"), np.repeat([0, 1], 6), np.zeros((12, 2), np.float32), "digits", "pixels"
    )
    return page(
        [Measured(images, rows, advise(rows, curves), end_of(curves))], seeds=3, audit_share=0.1
    )


def row(page: str, name: str, table: int) -> str:
    return [line for line in page.splitlines() if line.startswith(f"| {name} |")][table]


def test_what_wins_is_bold_what_loses_is_said_to_and_the_rest_is_no_difference() -> None:
    shown = told()
    assert "**+" in row(shown, "uherding", 0)
    assert "worse*" in row(shown, "entropy", 0)
    assert "no difference" in row(shown, "margin", 0)


def test_levels_that_random_does_not_cross_are_left_out() -> None:
    shown = told()
    assert "labels to 40 %" in shown
    assert "labels to 60 %" in shown
    assert "labels to 30 %" not in shown
    assert "labels to 70 %" not in shown


def test_audit_labels_are_spent_too() -> None:
    shown = told()
    bare, audited = row(shown, "uherding", 1), row(shown, "uherding, 10% audit", 0)
    # 60 % lies at 10 + 90 * 0.75 = 77.5 labels; ours / 0.9 with an audit; random: 100 + 90 * 0.75
    assert bare.endswith(", saved +90 (+90 to +90) |")
    assert audited.endswith("| 86, saved +81 |")
