"""Settings of a round: each of them does what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import ConfigurationError, UnknownStrategy
from ml_backend.settings import load_settings
from ml_backend.steps.workbench import Plan, plan_of
from tests.loop import PLAN, Loop, truth


@pytest.fixture
def loop_with(tmp_path: Path) -> Callable[[Plan], Loop]:
    """Thirty tasks, and the first order."""

    def make(plan: Plan, folder: str = "one") -> Loop:
        (tmp_path / folder).mkdir()
        loop = Loop(tmp_path / folder, plan=plan)
        loop.server.add_tasks(30)
        loop.ask("connect")
        loop.run()
        return loop

    return make


def label_next(loop: Loop, n: int) -> None:
    """Label what is served, one by one, with a round after each."""
    for _ in range(n):
        loop.label(loop.server.served_order(1)[0])
        loop.run()


def strategy_reasons(loop: Loop) -> tuple[str, ...]:
    return loop.trainer.last_results(loop.project_id).reasons


@pytest.mark.parametrize("size", [1, 3])
def test_a_round_is_as_many_labels_as_it_should_be(
    loop_with: Callable[..., Loop], size: int
) -> None:
    loop = loop_with(replace(PLAN, strategy="margin", labels_per_round=size))
    orders = []
    for _ in range(6):
        label_next(loop, 1)
        orders.append(loop.server.settings.model_version)
    # A second label of the same class need not change the order.
    assert len(set(orders)) >= 5 if size == 1 else len(set(orders)) == 3
    if size == 3:
        assert orders[0] == orders[1] != orders[2] == orders[4] != orders[5]


def test_a_round_of_many_labels_counts_on_after_a_restart(
    loop_with: Callable[..., Loop],
) -> None:
    loop = loop_with(replace(PLAN, labels_per_round=3))
    first = loop.server.settings.model_version
    label_next(loop, 2)
    loop.trainer = loop.new_trainer()
    assert loop.server.settings.model_version == first
    label_next(loop, 1)
    assert loop.server.settings.model_version != first


def test_a_queue_that_is_half_used_up_does_not_wait_for_more_labels(
    loop_with: Callable[..., Loop],
) -> None:
    loop = loop_with(replace(PLAN, window=8, front=8, labels_per_round=8))
    first = loop.server.settings.model_version
    label_next(loop, 4)
    assert loop.server.settings.model_version == first
    label_next(loop, 1)
    assert loop.server.settings.model_version != first


def test_only_as_many_tasks_are_scored_as_may_be(loop_with: Callable[..., Loop]) -> None:
    loop = loop_with(replace(PLAN, score_limit=5, window=30))
    results = loop.trainer.last_results(loop.project_id)
    assert len(results.task_ids_N) == 5
    assert loop.last_round().report["not_scored"] == 25
    served = loop.server.served_order(30)
    assert set(served[:5]) == set(results.task_ids_N.tolist())
    assert len(served) == 30, "the others follow behind"


def test_what_is_scored_is_a_sample_that_is_filled_up(loop_with: Callable[..., Loop]) -> None:
    loop = loop_with(replace(PLAN, score_limit=5))
    before = set(loop.trainer.last_results(loop.project_id).task_ids_N.tolist())
    [labeled] = loop.server.served_order(1)
    label_next(loop, 1)
    after = set(loop.trainer.last_results(loop.project_id).task_ids_N.tolist())
    assert len(after) == 5
    assert before - {labeled} < after
    assert before != set(range(1, 6)), "the first tasks are no random sample"


def test_the_beginning_has_a_strategy_of_its_own(loop_with: Callable[..., Loop]) -> None:
    loop = loop_with(replace(PLAN, initial_strategy="random", initial_labels=3))
    assert "random" in strategy_reasons(loop)[0].lower()
    label_next(loop, 2)
    assert "random" in strategy_reasons(loop)[0].lower()
    label_next(loop, 1)
    assert "random" not in strategy_reasons(loop)[0].lower()


def test_the_beginning_can_look_for_what_is_like_the_labeled_ones(
    loop_with: Callable[..., Loop],
) -> None:
    loop = loop_with(replace(PLAN, initial_strategy="similar", initial_labels=5))
    for task_id in (3, 4):  # a red one and a green one
        loop.label(task_id)
    loop.run()
    assert {truth(task_id) for task_id in loop.server.served_order(6)} == {"cat", "hound"}


def test_a_strategys_parameters_reach_it(loop_with: Callable[..., Loop]) -> None:
    orders = []
    for name, weight in (("one", 0.0), ("two", 50.0)):
        parameters = {"weight": weight, "mini_batch": 1}
        plan = replace(PLAN, strategy="iterative_proximity", strategy_parameters=parameters)
        loop = loop_with(plan, name)
        for task_id in (1, 2, 3):
            loop.label(task_id)
        loop.run()
        orders.append(loop.trainer.last_results(loop.project_id).order_N)
    assert not np.array_equal(*orders)


def test_class_balance_brings_rare_classes_forward(loop_with: Callable[..., Loop]) -> None:
    def place_of_birds(balance: float, name: str) -> float:
        loop = loop_with(replace(PLAN, strategy="maxherding", class_balance=balance), name)
        for task_id in (3, 6, 9, 12, 4, 7, 10, 13, 2):  # one bird
            loop.label(task_id)
        loop.run()
        served = loop.server.served_order(30)
        return float(np.mean([p for p, task_id in enumerate(served) if truth(task_id) == "bird"]))

    assert place_of_birds(4.0, "balanced") < place_of_birds(0.0, "plain")


def test_a_plan_is_read_from_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACTIVE_LABELER_STRATEGY_PARAMETERS", '{"weight": 0.5}')
    plan = plan_of(load_settings(strategy="iterative_proximity", score_limit=7))
    assert plan.strategy_parameters == {"weight": 0.5}
    assert plan.score_limit == 7


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"strategy": "uherdin"}, UnknownStrategy, "uherding"),
        ({"initial_strategy": "diverse"}, UnknownStrategy, "maxherding"),
        ({"strategy_parameters": {"wieght": 1}}, UnknownStrategy, "sigma"),
        ({"strategy_parameters": '{"sigma": -1}'}, ConfigurationError, "a number > 0"),
        ({"strategy_parameters": "weight=1"}, ConfigurationError, "strategy_parameters"),
        ({"labels_per_round": 300}, ConfigurationError, "window=200"),
        ({"score_limit": -1}, ConfigurationError, "score_limit"),
    ],
)
def test_what_cannot_work_is_refused_before_a_round(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, object],
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        plan_of(load_settings(**wrong))


def test_a_task_that_somebody_asked_for_does_not_wait_for_a_round_to_be_full(
    loop_with: Callable[..., Loop],
) -> None:
    loop = loop_with(replace(PLAN, labels_per_round=5))
    label_next(loop, 1)
    wanted = loop.server.served_order(20)[-1]
    loop.store.ask_front(loop.project_id, [wanted], "a test", loop.now())
    loop.ask("front")
    loop.run()
    assert loop.server.served_order(1) == [wanted]
