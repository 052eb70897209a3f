"""How far stated confidence and success lie apart, and how far they would by chance.

Knows probabilities and class rows; no model, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BINS = 15  # Guo et al. 2017
LABELS_A_BIN = 10  # with fewer the success in a bin is hardly more than a coin's
DRAWS = 500


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """An expected calibration error, in [0, 1].

    `by_chance` is what a perfectly calibrated model of the same confidences would show on as many
    labels, and `by_chance_95` what it would exceed once in twenty times: the estimate cannot be
    negative, so with few labels it is far above the truth. Above `by_chance_95` is miscalibration.
    """

    value: float
    by_chance: float
    by_chance_95: float
    bins: int


def calibration_error(
    probs_HC: NDArray[np.floating[Any]], labels_H: NDArray[np.integer[Any]], *, seed: int = 0
) -> CalibrationError | None:
    """Measure the ECE of the predicted class (Guo et al. 2017) in bins of equal mass.

    Equal mass (Nixon et al. 2019) because confidences crowd near 1: bins of equal width would
    leave most of them empty, others with one label; and its bias is the smaller (Roelofs et al.
    2022). At most 15 bins, fewer where they would hold less than ten labels. Equal confidences
    share a bin, so that the order of rows means nothing. None without labels.
    """
    if len(labels_H) == 0:
        return None
    probs_HC = np.asarray(probs_HC, np.float64)
    confidence_H = np.clip(probs_HC.max(axis=1), 0.0, 1.0)
    right_H = probs_HC.argmax(axis=1) == labels_H
    bin_H = bins_of_equal_mass(confidence_H)
    chance_B = _by_chance(confidence_H, bin_H, seed)
    return CalibrationError(
        value=float(_error(confidence_H, right_H[None].astype(np.float64), bin_H)[0]),
        by_chance=float(chance_B.mean()),
        by_chance_95=float(np.quantile(chance_B, 0.95)),
        bins=int(bin_H.max()) + 1,
    )


def bins_of_equal_mass(confidence_H: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number each row's bin from 0, without gaps."""
    n = len(confidence_H)
    n_bins = min(max(n // LABELS_A_BIN, 1), MOST_BINS)
    firsts = np.sort(confidence_H)[[n * each // n_bins for each in range(1, n_bins)]]
    bin_H = np.searchsorted(firsts, confidence_H, side="right")
    return np.asarray(np.unique(bin_H, return_inverse=True)[1], np.int64)


def _error(
    confidence_H: NDArray[np.float64], right_BH: NDArray[np.float64], bin_H: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum |success - confidence| over bins, weighted by their labels, for B outcomes: (B,)."""
    in_bin_HK = (bin_H[:, None] == np.arange(bin_H.max() + 1)).astype(np.float64)
    return np.asarray(np.abs((right_BH - confidence_H) @ in_bin_HK).sum(axis=1) / len(bin_H))


def _by_chance(
    confidence_H: NDArray[np.float64], bin_H: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Draw outcomes as likely as stated and measure each (Broecker and Smith 2007)."""
    rng = np.random.default_rng(seed)
    # In blocks: all draws of ten thousand labels at once would take 40 MB.
    blocks = []
    for _ in range(DRAWS // 50):
        right_BH = rng.random((50, len(confidence_H))) < confidence_H
        blocks.append(_error(confidence_H, right_BH.astype(np.float64), bin_H))
    return np.concatenate(blocks)
