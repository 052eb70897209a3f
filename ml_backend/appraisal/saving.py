"""How many labels the queue saved: measured where both curves are, and told only where it can be.

Knows which holdout images were got right by heads on the queue's labels and on random ones. The
question is how few of the queue's labels teach as much as `n` random ones do, where `n` is so small
a part of the holdout that enough is left to test on. Nothing is extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_backend.appraisal.curves import RandomArm

DRAWS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Saving:
    """Labels that the queue needs to teach what `random_labels` random ones do, with 95 % bounds.

    None: not reached with all labels that the queue has, so more. z: how many standard errors the
    queue's accuracy at `random_labels` lies above that of as many random labels, where an order's
    luck counts as an error.
    """

    random_labels: int
    accuracy: float
    queue_labels: float | None
    low: float | None
    high: float | None
    z: float


def compare(
    sizes_S: NDArray[np.int64],
    right_SH: NDArray[np.bool_],
    arm: RandomArm,
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Saving:
    """Find where the queue's curve reaches the random arm's accuracy, and the bounds of that.

    A bootstrap over the holdout images, the same for both curves since both are tested on them;
    the arm's luck with the labels that it learned from is drawn from a normal distribution.
    """
    n = len(arm.right_H)
    excess_SH = right_SH - arm.right_H
    weights_BH = rng.multinomial(n, np.full(n, 1 / n), draws) / n
    luck_B = rng.normal(0.0, np.sqrt(arm.variance), draws)
    gap_BS = weights_BH @ excess_SH.T + luck_B[:, None]
    found_B = reaching(sizes_S, gap_BS)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found_B, (tail, 1 - tail), method="closest_observation")
    value = reaching(sizes_S, excess_SH.mean(axis=1)[None])[0]
    curves_BS = np.concatenate([excess_SH.mean(axis=1)[None], gap_BS])
    here, *here_B = (float(np.interp(np.log(arm.n_labels), np.log(sizes_S), c)) for c in curves_BS)
    # A queue has its luck too, and is credited with a saving only beyond what one random order
    # of as many labels could have had: the variance of one head, of which the arm averages many.
    luck_of_one = arm.variance * n / arm.n_labels
    return Saving(
        random_labels=arm.n_labels,
        accuracy=arm.accuracy,
        queue_labels=_finite(value),
        low=_finite(low),
        high=_finite(high),
        z=here / max(float(np.var(here_B) + luck_of_one) ** 0.5, 1e-9),
    )


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def reaching(sizes_S: NDArray[np.int64], gap_BS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the number of labels at which each rising curve reaches 0: (B); inf where none does.

    Between two sizes it is interpolated over the logarithm of labels. A curve that starts above 0
    gets the first size.
    """
    rising_BS = rising(gap_BS)
    reached_BS = rising_BS >= 0
    after_B = reached_BS.argmax(axis=1)
    before_B = np.maximum(after_B - 1, 0)
    rows_B = np.arange(len(gap_BS))
    above_B, below_B = rising_BS[rows_B, after_B], rising_BS[rows_B, before_B]
    step_B = np.maximum(above_B - below_B, 1e-12)
    share_B = np.where(after_B > 0, np.clip(-below_B / step_B, 0.0, 1.0), 0.0)
    log_S = np.log(sizes_S)
    found_B = np.exp(log_S[before_B] + share_B * (log_S[after_B] - log_S[before_B]))
    return np.where(reached_BS.any(axis=1), found_B, np.inf)


def rising(values_BS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit the nearest non-decreasing curve to each row: isotonic regression in max-min form."""
    n = values_BS.shape[1]
    sums_BS = np.concatenate([np.zeros((len(values_BS), 1)), values_BS.cumsum(axis=1)], axis=1)
    first, last = np.triu_indices(n)
    means_BSS = np.full((len(values_BS), n, n), np.inf)
    means_BSS[:, first, last] = (sums_BS[:, last + 1] - sums_BS[:, first]) / (last + 1 - first)
    # The least mean from i to any j >= k, for each i and k; then the most over i <= k.
    least_BSS = np.minimum.accumulate(means_BSS[:, :, ::-1], axis=2)[:, :, ::-1]
    least_BSS[:, *np.tril_indices(n, -1)] = -np.inf
    return np.asarray(least_BSS.max(axis=1))
