"""What a learning curve is worth, and whether two differ by more than luck.

Knows numbers alone. Accuracies are in [0, 1]; samples are one number a seed. Differences are
paired: two contenders have the same split under the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % interval by Student's t; one number alone has none."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference. `p` is two-sided, by the paired t-test; `p_holm` allows for the others.

    `bootstrap` is the 95 % percentile interval of the mean; with few seeds it is too narrow.
    """

    difference: Estimate
    bootstrap: tuple[float, float]
    p: float
    p_holm: float
    wins: int

    @property
    def is_better(self) -> bool:
        """Tell whether it is above 0 beyond luck, with all other comparisons allowed for."""
        return self.p_holm < LEVEL and self.difference.mean > 0

    @property
    def is_worse(self) -> bool:
        """Tell the same of below 0."""
        return self.p_holm < LEVEL and self.difference.mean < 0


def aulc(budgets: Sequence[int], accuracies: Sequence[float]) -> float:
    """Return the mean accuracy over log(labels), by trapezoids: the area under a learning curve.

    Over the logarithm, because ten labels more are much at the start and nothing at the end.
    """
    x = np.log(budgets)
    return float(np.trapezoid(accuracies, x) / (x[-1] - x[0]))


def labels_to_reach(
    budgets: Sequence[int], accuracies: Sequence[float], target: float
) -> float | None:
    """Return the labels after which the curve first is at `target`, None where it never is.

    Between two budgets along a line. A curve that starts above has its first budget.
    """
    at = next((i for i, value in enumerate(accuracies) if value >= target), None)
    if at is None:
        return None
    if at == 0:
        return float(budgets[0])
    return float(np.interp(target, accuracies[at - 1 : at + 1], budgets[at - 1 : at + 1]))


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one number a seed, with its interval."""
    from scipy import stats

    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Estimate(mean, None, None, n)
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def share(values: Sequence[float]) -> Estimate:
    """Return the same for shares, whose bounds stay within 0 and 1."""
    each = estimate(values)
    if each.low is None or each.high is None:
        return each
    return Estimate(each.mean, max(0.0, each.low), min(1.0, each.high), each.n)


def compared(
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> dict[str, Comparison]:
    """Compare each first sample with its second, seed by seed; Holm's correction over all.

    Raises ValueError for samples of different lengths.
    """
    deltas = {
        name: np.asarray(ours, float) - _same_length(name, ours, theirs)
        for name, (ours, theirs) in pairs.items()
    }
    p_of = {name: paired_p(delta_S) for name, delta_S in deltas.items()}
    adjusted = holm(p_of)
    return {
        name: Comparison(
            difference=estimate(delta_S.tolist()),
            bootstrap=_bootstrap(delta_S),
            p=p_of[name],
            p_holm=adjusted[name],
            wins=int((delta_S > 0).sum()),
        )
        for name, delta_S in deltas.items()
    }


def paired_p(delta_S: NDArray[np.float64]) -> float:
    """Return the two-sided p of a paired t-test against no difference; 1 where it cannot tell."""
    from scipy import stats

    n, mean = len(delta_S), float(delta_S.mean())
    if n < 2 or mean == 0:
        return 1.0
    error = float(delta_S.std(ddof=1)) / math.sqrt(n)
    return 0.0 if error == 0 else float(2 * stats.t.sf(abs(mean) / error, n - 1))


def holm(p_of: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for their number (Holm 1979): of m, the k-th smallest times m - k + 1."""
    adjusted, highest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_of.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(p_of) - rank)))
        adjusted[name] = highest
    return adjusted


def _same_length(name: str, ours: Sequence[float], theirs: Sequence[float]) -> NDArray[np.float64]:
    if len(ours) != len(theirs):
        raise ValueError(f"{name}: {len(ours)} seeds against {len(theirs)}, expected as many")
    return np.asarray(theirs, float)


def _bootstrap(delta_S: NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = delta_S[rng.integers(0, len(delta_S), (RESAMPLES, len(delta_S)))].mean(axis=1)
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)
