"""Which strategy is advised, by the rule, and what is said of the others."""

from __future__ import annotations

import pytest

from ml_backend.simulation.advice import RULE, advise
from ml_backend.simulation.cells import Cell, Cells
from ml_backend.simulation.replay import Contender
from ml_backend.simulation.running import Plan, run
from ml_backend.simulation.summary import summarise
from tests.unit.simulation.builders import blobs, curve, flat_curves

RANDOM = [0.50, 0.52, 0.48, 0.51, 0.49]
BETTER = [0.60, 0.63, 0.58, 0.60, 0.60]
BEST = [0.71, 0.72, 0.69, 0.70, 0.70]
WORSE = [0.40, 0.41, 0.39, 0.40, 0.40]


def test_the_best_of_those_that_beat_random_is_taken() -> None:
    curves = flat_curves("fast", random=RANDOM, better=BETTER, best=BEST, worse=WORSE)
    rows = summarise(curves, [0.55])
    advice = advise(rows, curves)
    assert [row.strategy for row in rows] == ["best", "better", "random", "worse"]
    assert advice.strategy == "best"
    assert advice.sentences[0].startswith("Take best (on fast): +20.4 points of area over random (")
    assert advice.rule == RULE


def test_losses_are_told() -> None:
    curves = flat_curves("fast", random=RANDOM, best=BEST, worse=WORSE)
    told = advise(summarise(curves, []), curves).sentences
    assert any(
        each.startswith("worse on fast loses: -10.0 points of area over random") for each in told
    )


def test_what_is_not_told_apart_from_the_best_is_named() -> None:
    level = [0.70, 0.73, 0.69, 0.69, 0.70]
    curves = flat_curves("fast", random=RANDOM, best=BEST, level=level, better=BETTER)
    advice = advise(summarise(curves, []), curves)
    other = {"best": "level", "level": "best"}[str(advice.strategy)]
    assert f"Not told apart from it on this data: {other}." in advice.sentences


def test_noise_is_no_difference() -> None:
    curves = flat_curves("fast", random=RANDOM, noise=[0.52, 0.50, 0.49, 0.49, 0.51])
    advice = advise(summarise(curves, []), curves)
    assert advice.strategy is None
    assert advice.sentences[0].startswith("No difference on this data")


def test_random_against_random_is_no_difference(tmp_path) -> None:
    contenders = (
        Contender("random", "random"),
        Contender("another random", "top_n", (("uncertainty", "random"),)),
    )
    plan = Plan(contenders, (5, 10, 20, 30), seeds=6)
    curves = run({"blobs": blobs(spread=2.5)}, plan, Cells(tmp_path, {}), jobs=1)
    rows = summarise(curves, [])
    assert rows[0].aulc.mean != rows[1].aulc.mean  # other orders
    assert advise(rows, curves).sentences[0].startswith("No difference on this data")


def test_random_alone_is_compared_with_nothing() -> None:
    curves = flat_curves("fast", random=RANDOM)
    told = advise(summarise(curves, []), curves).sentences
    assert told == ("No difference on this data: nothing was compared with random.",)


def test_the_better_backbone_is_taken_on_the_same_splits() -> None:
    curves = {
        **flat_curves("small", random=RANDOM, best=BETTER),
        **flat_curves("large", random=BETTER, best=BEST),
    }
    advice = advise(summarise(curves, []), curves)
    assert (advice.strategy, advice.backbone) == ("best", "large")
    assert advice.sentences[-1].startswith("Take the backbone large: +10.2 points")


def test_backbones_that_are_level_are_told_so() -> None:
    curves = {
        **flat_curves("one", random=RANDOM, best=BEST),
        **flat_curves("other", random=RANDOM, best=BEST[::-1]),
    }
    advice = advise(summarise(curves, []), curves)
    assert advice.backbone is None
    assert "is not told apart from" in advice.sentences[-1]


def test_labels_are_told_over_the_seeds_that_got_there() -> None:
    curves = {
        Cell("fast", "random", 0): curve(0.2, 0.4, 0.6, 0.8),
        Cell("fast", "random", 1): curve(0.2, 0.4, 0.5, 0.5),
        Cell("fast", "quick", 0): curve(0.6, 0.7, 0.8, 0.9),
        Cell("fast", "quick", 1): curve(0.2, 0.6, 0.8, 0.9),
    }
    by_name = {row.strategy: row.reaches for row in summarise(curves, [0.4, 0.6, 0.95])}
    [_, random, never], [both, quick, _] = by_name["random"], by_name["quick"]
    assert (random.reached, random.seeds, random.labels.mean) == (1, 2, pytest.approx(30))
    assert random.saved is None
    assert (quick.reached, quick.labels.mean) == (2, pytest.approx(15))
    assert quick.saved is None  # random got there on its lucky split alone
    assert (both.saved.mean, both.saved.n) == (pytest.approx(7.5), 2)
    assert (never.reached, never.labels) == (0, None)
