"""Labels that are probably wrong, by what a model says of them that did not see them.

Knows probabilities and class rows. The model of a label: with a small probability it is wrong, and
then any other class is as likely; else it is as likely as the model says (the uniform noise of
Lawrence and Schoelkopf 2001). How many are wrong is estimated from the labels themselves. Confident
learning (Northcutt et al. 2021) accuses whatever the model would have answered otherwise, and of
labels that were chosen because the model is unsure of them that is far too much: docs/appraisal.md
has both on the same planted errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_SUSPECTED = (
    0.05  # probability of being wrong from which a label is named; see docs/appraisal.md
)
ABOVE_AVERAGE = 2.0  # and times as likely wrong as labels are on average
LEAST_WRONG, MOST_WRONG = 0.002, 0.2  # bounds of the share of wrong labels
STEPS = 50


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is probably wrong.

    row: of the labels given. suggested: the likeliest other class row, of this `probability`.
    self_confidence: probability of the label itself. wrong: that it is wrong. All in [0, 1].
    """

    row: int
    suggested: int
    probability: float
    self_confidence: float
    wrong: float


def find_suspects(
    probs_LC: NDArray[np.floating[Any]], labels_L: NDArray[np.int64]
) -> list[Suspect]:
    """Return the suspects among L labels, worst first.

    probs_LC: calibrated, of heads that were fitted without the label each. With one class no label
    can be wrong.
    """
    if not len(labels_L) or probs_LC.shape[1] < 2:
        return []
    rows_L = np.arange(len(labels_L))
    own_L = probs_LC[rows_L, labels_L].astype(np.float64)
    others_LC = probs_LC.copy()
    others_LC[rows_L, labels_L] = -1.0
    wrong_L, share = wrong_probability(own_L, probs_LC.shape[1])
    threshold = max(LEAST_SUSPECTED, ABOVE_AVERAGE * share)
    worst_first = np.lexsort((rows_L, -wrong_L))
    return [
        Suspect(
            row=row,
            suggested=int(others_LC[row].argmax()),
            probability=float(others_LC[row].max()),
            self_confidence=float(own_L[row]),
            wrong=float(wrong_L[row]),
        )
        for row in worst_first.tolist()
        if wrong_L[row] >= threshold
    ]


def wrong_probability(
    own_L: NDArray[np.float64], n_classes: int
) -> tuple[NDArray[np.float64], float]:
    """Return how probably each label is wrong (L), by that of its class (L); the share.

    The share of wrong labels is found by expectation maximisation (Dempster et al. 1977).
    """
    share, wrong_L = 0.05, np.zeros(len(own_L))
    for _ in range(STEPS):
        by_error_L = share / (n_classes - 1) * (1.0 - own_L)
        total_L = by_error_L + (1.0 - share) * own_L
        wrong_L = np.asarray(by_error_L / np.maximum(total_L, 1e-300))
        share = float(np.clip(wrong_L.mean(), LEAST_WRONG, MOST_WRONG))
    return wrong_L, share
