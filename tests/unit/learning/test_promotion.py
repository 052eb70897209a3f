"""The paired test and the verdict: by hand, and by simulated projects."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from ml_backend.learning.promotion import (
    PairedTest,
    Verdict,
    judge,
    paired_test,
    share_of,
)


def counted(n: int, *, both: int, champion: int, challenger: int) -> PairedTest:
    """Test n images: right by both, by the champion alone, by the challenger alone, by none."""
    champion_H = np.arange(n) < both + champion
    challenger_H = (np.arange(n) < both) | (
        (np.arange(n) >= both + champion) & (np.arange(n) < both + champion + challenger)
    )
    return paired_test(champion_H, challenger_H)


def never() -> PairedTest:
    raise AssertionError("cross-validation was not to be asked")


def challenge(
    rng: np.random.Generator, champion_H: np.ndarray, *, differing: float, gain: float = 0.0
) -> np.ndarray:
    """Draw whether a challenger is right, `gain` better in truth than a champion right in 80 %."""
    lost = rng.random(len(champion_H)) < (differing - gain) / 2 / 0.8
    won = rng.random(len(champion_H)) < (differing + gain) / 2 / 0.2
    return np.where(champion_H, ~lost, won)


def test_p_is_the_coins() -> None:
    found = counted(20, both=10, champion=0, challenger=5)
    assert (found.champion_right, found.challenger_right) == (10, 15)
    assert (found.only_champion, found.only_challenger) == (0, 5)
    assert found.p_better == pytest.approx(1 / 32)
    assert found.p_worse == 1
    assert found.p_two_sided == pytest.approx(1 / 16)
    assert found.smallest_p == pytest.approx(1 / 32)
    assert found.difference == 0.25


def test_three_wins_and_a_loss_are_five_in_sixteen() -> None:
    assert counted(9, both=5, champion=1, challenger=3).p_better == pytest.approx(5 / 16)


def test_the_bounds_are_bonetts_and_prices() -> None:
    # (4 - 2) / 12 plus or minus 1.96 sqrt((6 / 12 - (2 / 12)²) / 12)
    found = counted(10, both=4, champion=1, challenger=3)
    half = 1.959964 * np.sqrt((0.5 - (1 / 6) ** 2) / 12)
    assert (found.low, found.high) == pytest.approx((1 / 6 - half, 1 / 6 + half))


def test_two_that_never_differ_are_not_certainly_equal() -> None:
    found = counted(50, both=40, champion=0, challenger=0)
    assert found.p_better == 1
    assert found.low < 0 < found.high


@pytest.mark.parametrize(("n", "wins", "losses"), [(1, 1, 0), (1, 0, 1), (3, 3, 0)])
def test_bounds_stay_within_what_can_be(n: int, wins: int, losses: int) -> None:
    found = counted(n, both=0, champion=losses, challenger=wins)
    assert -1 <= found.low <= found.high <= 1


def test_no_image_says_nothing() -> None:
    found = counted(0, both=0, champion=0, challenger=0)
    assert (found.n, found.difference, found.p_better, found.can_tell) == (0, 0, 1, False)


def test_power_is_the_share_of_simulated_projects_that_would_have_shown_it() -> None:
    rng = np.random.default_rng(0)
    found = paired_test(np.ones(200, bool), np.arange(200) >= 30, worthwhile=0.1)
    shown = 0
    for _ in range(300):
        champion_H = rng.random(200) < 0.8
        challenger_H = challenge(rng, champion_H, differing=31 / 202, gain=0.1)
        shown += paired_test(champion_H, challenger_H).p_better <= 0.05
    assert found.power == pytest.approx(shown / 300, abs=0.06)


def test_a_small_holdout_cannot_tell_two_points_and_a_large_one_can() -> None:
    assert not counted(84, both=66, champion=4, challenger=5).can_tell
    assert counted(5000, both=4000, champion=100, challenger=100).can_tell


@pytest.mark.parametrize(
    ("champion_H", "challenger_H"),
    [
        (np.ones(3, bool), np.ones(2, bool)),
        (np.ones((2, 2), bool), np.ones((2, 2), bool)),
        (np.ones(3), np.ones(3)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    champion_H: np.ndarray, challenger_H: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="expected"):
        paired_test(champion_H, challenger_H)


def test_a_clear_gain_on_the_holdout_promotes_without_cross_validation() -> None:
    verdict = judge(counted(84, both=60, champion=2, challenger=14), never)
    assert (verdict.promote, verdict.decided_by) == (True, "holdout")
    assert verdict.reason == (
        "Promoted: on 84 holdout labels the challenger is right in 74 "
        "and the champion in 62 (p = 0.0021, 0.025 needed)."
    )


def test_a_holdout_that_points_against_it_is_not_overruled() -> None:
    verdict = judge(counted(84, both=66, champion=6, challenger=1), never)  # p_worse: 8 / 128
    assert (verdict.promote, verdict.decided_by) == (False, "holdout")
    assert "it does worse" in verdict.reason


def test_one_image_more_that_the_champion_gets_right_is_no_verdict() -> None:
    holdout = counted(84, both=66, champion=5, challenger=4)
    verdict = judge(holdout, lambda: counted(400, both=320, champion=10, challenger=30))
    assert (verdict.promote, verdict.decided_by) == (True, "cross-validation")


def test_a_large_holdout_that_shows_no_gain_decides_alone() -> None:
    verdict = judge(counted(5000, both=4000, champion=100, challenger=101), never)
    assert (verdict.promote, verdict.decided_by) == (False, "holdout")
    assert "a gain of 2 points would most likely have shown" in verdict.reason


def test_a_holdout_that_cannot_tell_leaves_it_to_cross_validation() -> None:
    holdout = counted(84, both=66, champion=4, challenger=5)
    verdict = judge(holdout, lambda: counted(400, both=320, champion=10, challenger=30))
    assert (verdict.promote, verdict.decided_by) == (True, "cross-validation")
    assert verdict.reason == (
        "Promoted: on 84 holdout labels the challenger is right in 71 and the champion in 70 "
        "(p = 0.5, 0.025 needed); a gain of 2 points cannot be told from chance with so few; "
        "on 400 cross-validated labels the challenger is right in 350 and the champion in 330 "
        "(p = 0.0011, 0.0083 needed)."
    )


@pytest.mark.parametrize("holdout", [None, counted(0, both=0, champion=0, challenger=0)])
def test_without_a_holdout_cross_validation_decides_and_the_verdict_says_so(
    holdout: PairedTest | None,
) -> None:
    verdict = judge(holdout, lambda: counted(400, both=320, champion=20, challenger=22))
    assert (verdict.promote, verdict.decided_by) == (False, "cross-validation")
    assert verdict.reason.startswith("Refused: there are no holdout labels yet; on 400")


def test_with_nothing_to_go_by_the_champion_stays() -> None:
    verdict = judge(counted(84, both=66, champion=4, challenger=5), None)
    assert (verdict.promote, verdict.decided_by) == (False, "nothing")
    assert verdict.reason == (
        "Refused: on 84 holdout labels the challenger is right in 71 and the champion in 70 "
        "(p = 0.5, 0.025 needed); a gain of 2 points cannot be told from chance with so few, "
        "and there is nothing to cross-validate on."
    )


def test_the_shares_of_the_significance_sum_to_the_whole() -> None:
    shares = [share_of(0.05, before) for before in range(10_000)]
    assert shares[0] == 0.025
    assert sum(shares) == pytest.approx(0.05, rel=1e-3)
    assert sum(shares) < 0.05


def test_the_same_gain_needs_a_smaller_p_after_other_tests() -> None:
    holdout = counted(84, both=60, champion=4, challenger=14)  # p = 0.0154
    assert judge(holdout, None).promote
    assert not judge(holdout, None, tests_before=1).promote


def test_a_test_that_could_not_have_said_yes_spends_nothing() -> None:
    few = counted(30, both=20, champion=1, challenger=2)
    crossed = counted(400, both=320, champion=10, challenger=30)
    assert judge(few, None).tests_spent == 0
    verdict = judge(few, lambda: crossed)
    assert verdict.tests_spent == 1
    assert verdict.cross_validation is not None
    assert verdict.cross_validation.significance == 0.025
    many = counted(84, both=66, champion=4, challenger=5)
    assert judge(many, lambda: crossed).tests_spent == 2


@pytest.mark.parametrize("crossed", [None, counted(40, both=30, champion=1, challenger=2)])
def test_json_gives_the_verdict_back(crossed: PairedTest | None) -> None:
    asked: Callable[[], PairedTest] | None = None if crossed is None else lambda: crossed
    verdict = judge(counted(84, both=66, champion=4, challenger=5), asked)
    facts = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
    assert Verdict.from_dict(facts) == verdict


def promoted_within(rng: np.random.Generator, n: int, n_crossed: int, challengers: int) -> bool:
    """Simulate challengers that are as good as the champion, one after the other."""
    champion_H, champion_M = rng.random(n) < 0.8, rng.random(n_crossed) < 0.8
    spent = 0
    for _ in range(challengers):
        holdout = paired_test(champion_H, challenge(rng, champion_H, differing=0.15))
        crossed = paired_test(champion_M, challenge(rng, champion_M, differing=0.15))
        verdict = judge(holdout, lambda crossed=crossed: crossed, tests_before=spent)
        if verdict.promote:
            return True
        spent += verdict.tests_spent
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("n", "n_crossed"), [(84, 400), (300, 0)])
def test_ten_equal_challengers_rarely_get_one_in(n: int, n_crossed: int) -> None:
    rng = np.random.default_rng(3)
    share = np.mean([promoted_within(rng, n, n_crossed, 10) for _ in range(150)])
    assert share <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150)


def test_ten_points_on_two_hundred_labels_are_mostly_seen() -> None:
    rng = np.random.default_rng(4)
    seen = 0
    for _ in range(200):
        champion_H = rng.random(200) < 0.8
        challenger_H = challenge(rng, champion_H, differing=0.2, gain=0.1)
        seen += judge(paired_test(champion_H, challenger_H), None).promote
    assert seen / 200 > 0.75


def test_a_worse_challenger_is_hardly_ever_promoted() -> None:
    rng = np.random.default_rng(5)
    promoted = 0
    for _ in range(200):
        champion_H = rng.random(200) < 0.8
        challenger_H = challenge(rng, champion_H, differing=0.2, gain=-0.05)
        promoted += judge(paired_test(champion_H, challenger_H), None).promote
    assert promoted == 0


@pytest.mark.parametrize("losses", range(4, 9))
def test_no_cross_validation_promotes_what_clearly_loses_on_the_holdout(losses: int) -> None:
    for wins in range(losses // 4):
        holdout = counted(60, both=40, champion=losses, challenger=wins)
        brilliant = counted(400, both=200, champion=0, challenger=200)
        assert not judge(holdout, lambda won=brilliant: won).promote
