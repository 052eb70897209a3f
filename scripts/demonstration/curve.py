"""What the order was worth: accuracy per number of labels, against random orders.

Both sides get the same number of labels from the same pool, the same embeddings and the head that
the live loop fits. Accuracy is measured on images that were held back from Label Studio, which no
order could pick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ml_backend.learning.head import fit_head

RANDOM_ORDERS = 10
STEP = 10  # labels between two points of the curve
RANDOM_REACH = 4  # random orders are followed this many times further, to see where they catch up


@dataclass(frozen=True, slots=True)
class Measured:
    """Embedded images with their true classes: (N, D) float32 and (N,) int."""

    embeddings_ND: NDArray[np.float32]
    labels_N: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracy in [0, 1] at each budget; `random_RB` has one row a random order.

    `budgets` reach further than the `active` curve, whose last point is at `len(served)` labels.
    """

    budgets: list[int]
    active: list[float]
    random_RB: NDArray[np.float64]

    @property
    def random_mean(self) -> NDArray[np.float64]:
        return np.asarray(self.random_RB.mean(axis=0))

    def random_labels_for_the_same(self) -> int | None:
        """Count the labels at which the random orders' mean reaches the active curve's end."""
        reached = np.flatnonzero(self.random_mean >= self.active[-1])
        return self.budgets[int(reached[0])] if len(reached) else None


def compare(
    pool: Measured, holdout: Measured, served: Sequence[int], n_classes: int, *, seed: int = 0
) -> Comparison:
    """Measure the order in which the pool's rows were served against random orders."""
    own = [*range(STEP, len(served), STEP), len(served)]
    pool_size = len(pool.labels_N)
    reach = range(len(served) + STEP, RANDOM_REACH * len(served) + 1, STEP)
    budgets = own + [budget for budget in reach if budget <= pool_size]
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(pool_size) for _ in range(RANDOM_ORDERS)]
    return Comparison(
        budgets,
        [accuracy(pool, holdout, served[:budget], n_classes) for budget in own],
        np.array(
            [
                [accuracy(pool, holdout, order[:budget], n_classes) for budget in budgets]
                for order in orders
            ]
        ),
    )


def accuracy(
    pool: Measured, holdout: Measured, rows: Sequence[int] | NDArray[np.int64], n_classes: int
) -> float:
    """Fit the live loop's head on these pool rows and score it on the holdout."""
    rows_M = np.asarray(rows, dtype=np.int64)
    head = fit_head(pool.embeddings_ND[rows_M], pool.labels_N[rows_M], n_classes)
    if head is None:
        return 0.0
    answers_N = head.probs(holdout.embeddings_ND).argmax(axis=1)
    return float((answers_N == holdout.labels_N).mean())


def as_table(comparison: Comparison, holdout_size: int) -> Table:
    """Lay the comparison out for people, accuracies in per cent."""
    table = Table(title=f"Accuracy on {holdout_size} images that nobody labeled, in %")
    for heading in ("labels", "this queue", f"random ({len(comparison.random_RB)} orders)", "gain"):
        table.add_column(heading, justify="right")
    for column, active in enumerate(comparison.active):
        random_R = 100 * comparison.random_RB[:, column]
        spread = random_R.std(ddof=1)
        table.add_row(
            str(comparison.budgets[column]),
            f"{100 * active:.1f}",
            f"{random_R.mean():.1f} ± {spread:.1f}",
            f"{100 * active - random_R.mean():+.1f}",
        )
    return table


def verdict(comparison: Comparison) -> str:
    """Say how many labels random orders need for the same."""
    labels = comparison.budgets[len(comparison.active) - 1]
    needed = comparison.random_labels_for_the_same()
    if needed is None:
        return (
            f"{labels} labels in this order: random orders did not get there with "
            f"{comparison.budgets[-1]} labels."
        )
    return (
        f"{labels} labels in this order do what about {needed} do in a random one. One run on one "
        "set of images: docs/strategies.md has the measurements over seeds and data sets."
    )
