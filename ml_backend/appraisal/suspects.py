"""Labels that are probably wrong: confident learning on probabilities out of fold.

Knows probabilities and class rows. After Northcutt, Jiang and Chuang 2021 (J. Artif. Intell. Res.
70): a label is suspected where the model, which never saw it, is surer of another class than it
is on average of labels of that class. So a class on which the model is always unsure is not
accused of what it is unsure of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is probably wrong.

    row: of the labels given. suggested: the class row that the model would say instead.
    probability: of `suggested`; self_confidence: of the label; both in [0, 1]. score: normalised
    margin, (1 + self_confidence - the likeliest other) / 2, in [0, 1]; lower is worse.
    """

    row: int
    suggested: int
    probability: float
    self_confidence: float
    score: float


def find_suspects(probs_LC: NDArray[np.floating], labels_L: NDArray[np.int64]) -> list[Suspect]:
    """Return the suspects among L labels, worst first.

    probs_LC: of heads that were fitted without the label each. A class without labels has no
    threshold and is never suggested.
    """
    if not len(labels_L):
        return []
    rows_L = np.arange(len(labels_L))
    own_L = probs_LC[rows_L, labels_L].astype(np.float64)
    confident_LC = probs_LC >= _thresholds(own_L, labels_L, probs_LC.shape[1])
    surest_L = np.where(confident_LC, probs_LC, -1.0).argmax(axis=1)
    suspected_L = confident_LC.any(axis=1) & (surest_L != labels_L)
    others_LC = probs_LC.astype(np.float64)
    others_LC[rows_L, labels_L] = -np.inf
    score_L = (1.0 + own_L - others_LC.max(axis=1)) / 2.0
    worst_first = sorted(np.flatnonzero(suspected_L).tolist(), key=lambda row: (score_L[row], row))
    return [
        Suspect(
            row,
            int(surest_L[row]),
            float(probs_LC[row, surest_L[row]]),
            float(own_L[row]),
            float(score_L[row]),
        )
        for row in worst_first
    ]


def _thresholds(
    own_L: NDArray[np.float64], labels_L: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Average the probability of their own class over the labels of each; inf without any: (C)."""
    count_C = np.bincount(labels_L, minlength=n_classes)
    total_C = np.bincount(labels_L, weights=own_L, minlength=n_classes)
    return np.where(count_C > 0, total_C / np.maximum(count_C, 1), np.inf)
