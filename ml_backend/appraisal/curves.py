"""Accuracy against labels: of the queue's labels in their order, and of labels drawn at random.

Knows embeddings and class rows. Both are tested on the holdout, which is a random sample of the
project and which the queue never trained on. The holdout's labels are the random labels as well:
heads are fitted on part of them and tested on the rest, over and over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_backend.appraisal.heads import answers, plain_head


@dataclass(frozen=True, slots=True, eq=False)
class RandomArm:
    """What `n_labels` labels drawn at random are worth, told from H holdout images.

    right_H: share of the heads that got each image right, of those not fitted on it, in [0, 1].
    variance: of the mean over `right_H`, by which labels happened to be in the holdout to learn
    from; that of the images tested on is not in it.
    """

    n_labels: int
    right_H: NDArray[np.float64]
    variance: float

    @property
    def accuracy(self) -> float:
        """Return the accuracy that a head on so many random labels can be expected to have."""
        return float(self.right_H.mean())


def sizes(least: int, most: int, n: int) -> NDArray[np.int64]:
    """Return at most n numbers of labels from `least` to `most`, each about the same factor on."""
    if most < least:
        return np.empty(0, np.int64)
    return np.unique(np.geomspace(least, most, n).round().astype(np.int64))


def queue_right(
    embeddings_MD: NDArray[np.float32],
    labels_M: NDArray[np.int64],
    sizes_S: NDArray[np.int64],
    holdout_HD: NDArray[np.float32],
    holdout_labels_H: NDArray[np.int64],
    n_classes: int,
) -> NDArray[np.bool_]:
    """Tell which holdout images a head on the first n labels gets right, for each n: (S, H)."""
    rows = [
        answers(plain_head(embeddings_MD[:n], labels_M[:n], n_classes), holdout_HD)
        == holdout_labels_H
        for n in sizes_S.tolist()
    ]
    return np.array(rows, bool).reshape(len(sizes_S), len(holdout_labels_H))


def random_arm(
    embeddings_HD: NDArray[np.float32],
    labels_H: NDArray[np.int64],
    n_labels: int,
    n_classes: int,
    *,
    heads: int,
    rng: np.random.Generator,
) -> RandomArm:
    """Fit about `heads` heads on `n_labels` < H holdout labels each, tested on the others.

    The sets are cut from permutations, as many disjoint ones from each as go into it.
    """
    n = len(labels_H)
    per_permutation = n // n_labels
    if not 0 < n_labels < n:
        raise ValueError(f"n_labels is {n_labels}: expected 1..{n - 1}")
    right_RH = np.full((max(-(-heads // per_permutation), 1) * per_permutation, n), np.nan)
    for row in range(len(right_RH)):
        place = row % per_permutation
        if place == 0:
            shuffled_H = rng.permutation(n)
        known = shuffled_H[place * n_labels : (place + 1) * n_labels]
        others = np.setdiff1d(shuffled_H, known)
        head = plain_head(embeddings_HD[known], labels_H[known], n_classes)
        right_RH[row, others] = answers(head, embeddings_HD[others]) == labels_H[others]
    return RandomArm(n_labels, _mean_right(right_RH), _variance(right_RH, n_labels))


def _mean_right(right_RH: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over the heads that were tested on an image; one that none was gets the mean."""
    tested_RH = ~np.isnan(right_RH)
    total_H = np.where(tested_RH, right_RH, 0.0).sum(axis=0)
    count_H = tested_RH.sum(axis=0)
    mean = total_H.sum() / count_H.sum()
    return np.where(count_H > 0, total_H / np.maximum(count_H, 1), mean)


def _variance(right_RH: NDArray[np.float64], n_labels: int) -> float:
    """Estimate how far the arm's mean would differ between holdouts to learn from.

    It is a U-statistic, and of the spread between heads on n of the H labels a part of
    n / (H - n) is left in the mean over all such heads: exactly, where each label's part in a head
    adds to that of the others (Hoeffding 1948), and less where it does not. What the heads differ
    by is taken against the images' own means, so that easy and hard test images play no part, and
    less the noise of testing on H - n images only.
    """
    n = right_RH.shape[1]
    tested = n - n_labels
    excess_RH = right_RH - _mean_right(right_RH)
    spread = float(np.nanmean(excess_RH, axis=1).var(ddof=1)) if len(right_RH) > 1 else 0.0
    noise = float(np.nanmean(np.nanvar(excess_RH, axis=1))) / tested
    return max(spread - noise, 0.0) * n_labels / tested
