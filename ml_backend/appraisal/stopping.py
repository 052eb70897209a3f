"""Whether more labels are worth it: what the next hundred may bring, and what is still moving.

Knows curves, predictions and counts. It advises, and decides nothing. Two signs have to agree
before it says that one may stop: the curve has flattened, and the model has stopped changing its
mind (Bloodgood and Vijay-Shanker 2009).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.evaluation import proportion

NEXT_LABELS = 100
WORTH_STOPPING = 0.01  # a gain in accuracy below a point: half of what a promotion asks for
STABLE = 0.99  # kappa of consecutive models; Bloodgood and Vijay-Shanker's
FEW_LABELS = 10  # below, a class is named as lacking
LOW_RECALL = 0.5  # a class whose recall is surely below is lacking labels too
SMALL_HOLDOUT = 50  # below, an accuracy is known to 14 points at best; nothing is advised
LAST_PART = 8  # the law is fitted to sizes from an eighth of the labels on: how a curve begins
# says little of how it ends, and bends the law
LEAST_POINTS = 4  # to fit three parameters to
LUCK = 12  # the accuracy of a head on n labels varies as that of 12 n coins; see docs/appraisal.md
DRAWS = 500
# Exponents of the power law: from nearly a logarithm to twice the rate of a parametric model.
_EXPONENTS_E = np.linspace(0.1, 2.0, 20)


@dataclass(frozen=True, slots=True)
class Bounded:
    """A number with its 95 % bounds, from n images."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)


def gain_of_next(
    sizes_S: NDArray[np.int64],
    right_SH: NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    more: int = NEXT_LABELS,
    draws: int = DRAWS,
) -> Bounded | None:
    """Estimate what the next `more` labels add to accuracy, by an inverse power law.

    accuracy(n) = a - b n^-c with a <= 1 and b >= 0, fitted to the last of the curve with weights
    1 / variance; c from a grid. Bounds from a bootstrap over the holdout images; each head on the
    way, and the two of the gain, are given the luck that heads have. None where the last of the
    curve has fewer than four sizes, or without images.
    """
    n, last = right_SH.shape[1], sizes_S * LAST_PART >= sizes_S.max(initial=0)
    if last.sum() < LEAST_POINTS or n == 0:
        return None
    right_SH, sizes_S = right_SH[last], sizes_S[last]
    weights_BH = rng.multinomial(n, np.full(n, 1 / n), draws) / n
    curve_S = right_SH.mean(axis=1)
    variance_S = (curve_S * n + 1) * (n - curve_S * n + 1) / (n + 2) ** 2  # none is 0
    luck_S = np.sqrt(variance_S / (LUCK * sizes_S))
    curves_BS = weights_BH @ right_SH.T + luck_S * rng.normal(size=(draws, len(sizes_S)))
    all_BS = np.concatenate([curve_S[None], curves_BS])
    value, *gains_B = _power_law_gain(sizes_S, all_BS, 1.0 / variance_S, more).tolist()
    told_B = np.array(gains_B) + 2**0.5 * luck_S[-1] * rng.normal(size=draws)
    low, high = np.quantile(told_B, (0.025, 0.975)).tolist()
    return Bounded(value, min(low, value), max(high, value), n)


def _power_law_gain(
    sizes_S: NDArray[np.int64],
    curves_BS: NDArray[np.float64],
    weight_S: NDArray[np.float64],
    more: int,
) -> NDArray[np.float64]:
    """Fit each curve for each exponent by weighted least squares; the best one's gain: (B)."""
    weight_S = weight_S / weight_S.sum()
    last = float(sizes_S[-1])
    best_B = np.full(len(curves_BS), np.inf)
    gain_B = np.zeros(len(curves_BS))
    for exponent in _EXPONENTS_E:
        x_S = sizes_S**-exponent
        mean_x, mean_B = weight_S @ x_S, curves_BS @ weight_S
        spread = weight_S @ (x_S - mean_x) ** 2
        fall_B = np.maximum(
            -(curves_BS - mean_B[:, None]) @ (weight_S * (x_S - mean_x)) / spread, 0
        )
        top_B = mean_B + fall_B * mean_x
        # Above 1 the asymptote is 1, and the fall is fitted alone.
        alone_B = np.maximum((1 - curves_BS) @ (weight_S * x_S) / (weight_S @ x_S**2), 0)
        fitted_B = np.where(top_B > 1, alone_B, fall_B)
        curve_BS = np.minimum(top_B, 1.0)[:, None] - fitted_B[:, None] * x_S
        error_B = ((curves_BS - curve_BS) ** 2) @ weight_S
        better_B = error_B < best_B
        best_B[better_B] = error_B[better_B]
        gain = last**-exponent - (last + more) ** -exponent
        gain_B[better_B] = fitted_B[better_B] * gain
    return gain_B


def stability(
    before_N: NDArray[np.int64], now_N: NDArray[np.int64], n_classes: int
) -> Bounded | None:
    """Return Cohen's kappa of two models' answers to the same N images, within [0, 1].

    The bounds are Wilson's of the share of equal answers, at the chance agreement that was seen:
    unlike kappa's own variance they have a width where all agree. None without images, and where
    both always say one class, which agrees by chance alone.
    """
    n = len(now_N)
    if n == 0:
        return None
    shares = [np.bincount(each, minlength=n_classes) / n for each in (before_N, now_N)]
    chance = float(shares[0] @ shares[1])
    if chance >= 1:
        return None
    same = proportion(int((before_N == now_N).sum()), n)
    assert same.value is not None
    assert same.low is not None
    assert same.high is not None
    value, low, high = (
        min(max((share - chance) / (1 - chance), 0.0), 1.0)
        for share in (same.value, same.low, same.high)
    )
    return Bounded(value, low, high, n)


@dataclass(frozen=True, slots=True)
class Lacking:
    """A class that lacks labels, and why in a sentence."""

    name: str
    labels: int
    sentence: str


def lacking(
    classes: tuple[str, ...], labels_C: NDArray[np.int64], recall_high_C: list[float | None]
) -> list[Lacking]:
    """Name the classes with few labels to learn from, and those that the model seldom finds."""
    found = []
    for name, count, high in zip(classes, labels_C.tolist(), recall_high_C, strict=True):
        if count < FEW_LABELS:
            few = f"Only {count} {'label' if count == 1 else 'labels'}" if count else "No label"
            said = f"{few} of {name} to learn from."
            found.append(Lacking(name, count, said))
        elif high is not None and high < LOW_RECALL:
            said = f"The model finds at most {100 * high:.0f} % of {name}."
            found.append(Lacking(name, count, said))
    return found


def verdict(
    gain: Bounded | None, agreement: Bounded | None, n_holdout: int, lacks: list[Lacking]
) -> tuple[str, str]:
    """Return the verdict, and the sentence that says why."""
    if n_holdout < SMALL_HOLDOUT:
        missing = SMALL_HOLDOUT - n_holdout
        return (
            "cannot tell yet",
            f"{missing} more audit labels are needed before anything is advised.",
        )
    if gain is None:
        return "cannot tell yet", "There is no learning curve to tell from."
    points = (
        f"{NEXT_LABELS} more labels are likely to bring {100 * gain.value:.1f} points of accuracy "
        f"[{100 * gain.low:.1f}, {100 * gain.high:.1f}]"
    )
    if gain.high >= WORTH_STOPPING:
        return "go on", f"{points}."
    if agreement is None:
        return "go on", f"{points}, but whether the model still changes its mind is not known yet."
    if agreement.low < STABLE:
        return (
            "go on",
            f"{points}, but the model still changes its mind (kappa {agreement.value:.3f}).",
        )
    if lacks:
        return "go on", f"{points}, but {_named(lacks)} lack labels."
    return "consider stopping", f"{points}, and the model has stopped changing its mind."


def _named(lacks: list[Lacking]) -> str:
    names = [each.name for each in lacks[:3]]
    more = len(lacks) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
