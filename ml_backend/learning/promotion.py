"""Whether a challenger may take the champion's place: a paired test, and a verdict in words.

Knows who was right on which holdout image; no models, no torch, no store. The test is McNemar's,
exact: only images that one of the two got right and the other did not say anything, and if neither
is better each of them is a fair coin.

One-sided: a challenger that is worse or the same stays out either way. Every fine-tune is another
test on the same holdout, and at 5 % each ten of them would let one in by luck in up to 40 of 100
projects. So the significance is spent: the first test against a champion gets half of it, the
second a sixth, the k-th 1/k(k+1) of it, which sums to the whole however many come. A test that
could not have said yes, with so few images told apart, spends nothing. A promotion starts anew,
since then the question is another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE = 0.05
WORTHWHILE = 0.02  # a gain in accuracy that people would notice: 2 points
# A holdout on which the challenger does so much worse by luck in one case of ten is not overruled.
# One image more that the champion got right is no such evidence where there are a few dozen.
POINTS_AGAINST = 0.1
ENOUGH_POWER = 0.8  # the usual demand on an experiment
_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Champion and challenger on the same n images. Shares in [0, 1].

    `low` and `high` are 95 % bounds of the difference in accuracy, challenger minus champion.
    `power` is the probability of p <= `significance` if the challenger really were better by
    `worthwhile`, and `can_tell` whether that is enough to take silence for an answer.
    """

    n: int
    champion_right: int
    challenger_right: int
    only_champion: int  # images that the champion alone got right
    only_challenger: int
    difference: float
    low: float
    high: float
    p_better: float  # exact, one-sided: as many wins of the challenger by luck
    p_worse: float
    p_two_sided: float
    smallest_p: float  # what `p_better` would be, had it won all discordant ones
    significance: float
    worthwhile: float
    power: float
    can_tell: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about a challenger, by what, and why in a sentence for people."""

    promote: bool
    decided_by: str  # "holdout", "cross-validation" or "nothing"
    reason: str
    tests_spent: int  # 0 to 2; what `judge` wants to know the sum of
    holdout: PairedTest | None
    cross_validation: PairedTest | None

    def as_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Verdict:
        """Read `as_dict` back. Raises TypeError for anything else."""
        tests = {
            name: None if facts[name] is None else PairedTest(**facts[name])
            for name in ("holdout", "cross_validation")
        }
        return cls(**{**facts, **tests})


def paired_test(
    champion_correct_H: NDArray[np.bool_],
    challenger_correct_H: NDArray[np.bool_],
    *,
    significance: float = SIGNIFICANCE,
    worthwhile: float = WORTHWHILE,
) -> PairedTest:
    """Compare who was right on the same H images (McNemar 1947, exact).

    The bounds are those of Bonett and Price (2012), which unlike a bootstrap's have a width where
    the two never differed. Raises ValueError for arrays that do not fit each other.
    """
    champion_H = np.asarray(champion_correct_H)
    challenger_H = np.asarray(challenger_correct_H)
    if champion_H.dtype != bool or challenger_H.dtype != bool:
        raise ValueError(f"expected bool, got {champion_H.dtype} and {challenger_H.dtype}")
    if champion_H.ndim != 1 or champion_H.shape != challenger_H.shape:
        raise ValueError(f"expected (H,) twice, got {champion_H.shape} and {challenger_H.shape}")
    n = len(champion_H)
    losses = int((champion_H & ~challenger_H).sum())
    wins = int((challenger_H & ~champion_H).sum())
    low, high = _bounds(n, losses, wins)
    power = _power(n, losses + wins, significance, worthwhile)
    return PairedTest(
        n=n,
        champion_right=int(champion_H.sum()),
        challenger_right=int(challenger_H.sum()),
        only_champion=losses,
        only_challenger=wins,
        difference=(wins - losses) / n if n else 0.0,
        low=low,
        high=high,
        p_better=_p_value(wins, losses, "greater"),
        p_worse=_p_value(wins, losses, "less"),
        p_two_sided=_p_value(wins, losses, "two-sided"),
        smallest_p=0.5 ** (losses + wins),
        significance=significance,
        worthwhile=worthwhile,
        power=power,
        can_tell=power >= ENOUGH_POWER,
    )


def share_of(significance: float, tests_before: int) -> float:
    """Give the part of the significance that the next test against a champion may use."""
    nth = tests_before + 1
    return significance / (nth * (nth + 1))


def judge(
    holdout: PairedTest | None,
    cross_validation: Callable[[], PairedTest] | None,
    *,
    significance: float = SIGNIFICANCE,
    worthwhile: float = WORTHWHILE,
    tests_before: int = 0,
) -> Verdict:
    """Decide whether the challenger is promoted.

    The holdout decides where its p is small enough, where it could have shown a gain of
    `worthwhile`, and where it points clearly against the challenger. Only else cross-validation is
    asked: on images that neither of the two networks was trained on, or the one that was wins by
    that.
    `tests_before` is the sum of `tests_spent` of the verdicts since the last promotion.
    """
    if holdout is None or holdout.n == 0:
        return _by_cross_validation(None, cross_validation, significance, worthwhile, tests_before)
    test = _at(holdout, share_of(significance, tests_before), worthwhile)
    said = _said(test, "holdout labels")
    spent = _spent(test)
    if test.p_better <= test.significance:
        return Verdict(True, "holdout", f"Promoted: {said}.", spent, test, None)
    if test.can_tell or test.p_worse <= POINTS_AGAINST:
        reason = f"Refused: {said}; {_why_refused(test)}."
        return Verdict(False, "holdout", reason, spent, test, None)
    return _by_cross_validation(test, cross_validation, significance, worthwhile, tests_before)


def _by_cross_validation(
    holdout: PairedTest | None,
    cross_validation: Callable[[], PairedTest] | None,
    significance: float,
    worthwhile: float,
    tests_before: int,
) -> Verdict:
    before, spent = "there are no holdout labels yet", 0
    if holdout is not None:
        before = f"{_said(holdout, 'holdout labels')}; {_why_refused(holdout)}"
        spent = _spent(holdout)
    found = cross_validation() if cross_validation is not None else None
    if found is None or found.n == 0:
        reason = f"Refused: {before}, and there is nothing to cross-validate on."
        return Verdict(False, "nothing", reason, spent, holdout, None)
    test = _at(found, share_of(significance, tests_before + spent), worthwhile)
    promote = test.p_better <= test.significance
    said = f"{before}; {_said(test, 'cross-validated labels')}"
    reason = f"Promoted: {said}." if promote else f"Refused: {said}; {_why_refused(test)}."
    return Verdict(promote, "cross-validation", reason, spent + _spent(test), holdout, test)


def _spent(test: PairedTest) -> int:
    return int(test.smallest_p <= test.significance)


def _at(test: PairedTest, significance: float, worthwhile: float) -> PairedTest:
    """Ask of the same counts what another significance could tell."""
    discordant = test.only_champion + test.only_challenger
    power = _power(test.n, discordant, significance, worthwhile)
    return replace(
        test,
        significance=significance,
        worthwhile=worthwhile,
        power=power,
        can_tell=power >= ENOUGH_POWER,
    )


def _said(test: PairedTest, labels: str) -> str:
    return (
        f"on {test.n} {labels} the challenger is right in {test.challenger_right} "
        f"and the champion in {test.champion_right} "
        f"(p = {_short(test.p_better)}, {_short(test.significance)} needed)"
    )


def _why_refused(test: PairedTest) -> str:
    gain = f"a gain of {_short(100 * test.worthwhile)} points"
    if test.only_challenger < test.only_champion:
        return "it does worse"
    if test.can_tell:
        return f"{gain} would most likely have shown"
    return f"{gain} cannot be told from chance with so few"


def _short(number: float) -> str:
    return f"{number:.2g}"


def _p_value(wins: int, losses: int, alternative: str) -> float:
    from scipy.stats import binomtest

    if wins + losses == 0:
        return 1.0
    return float(binomtest(wins, wins + losses, 0.5, alternative=alternative).pvalue)


def _bounds(n: int, losses: int, wins: int) -> tuple[float, float]:
    """Bound the difference of paired shares: Wald's interval with one more of each kind."""
    won, lost = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    centre = won - lost
    half = _Z_95 * math.sqrt(max(won + lost - centre**2, 0.0) / (n + 2))
    return max(centre - half, -1.0), min(centre + half, 1.0)


def _power(n: int, discordant: int, significance: float, worthwhile: float) -> float:
    """Give P(p <= significance) if the challenger were better by `worthwhile`.

    Only how often the two differ is taken from the data (smoothed, and at least `worthwhile`, or
    they could not be that far apart), not how far apart they were: power at the observed gain says
    no more than p does.
    """
    from scipy.stats import binom

    if n == 0:
        return 0.0
    differing = max((discordant + 1) / (n + 2), worthwhile)
    wins_share = min((differing + worthwhile) / (2 * differing), 1.0)
    count_D = np.arange(n + 1)
    # The fewest wins that are significant: P(wins >= w) = sf(w - 1) <= significance.
    needed_D = binom.isf(significance, count_D, 0.5) + 1
    power_D = binom.sf(needed_D - 1, count_D, wins_share)
    return float((binom.pmf(count_D, n, differing) * power_D).sum())
