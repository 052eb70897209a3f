"""What trains the network: the optimizer and the loss that the recipe asks for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ml_backend.errors import Cancelled
from ml_backend.learning.finetuning import FineTuned, fine_tune
from ml_backend.learning.learner import losses_of
from ml_backend.learning.recipe import Recipe
from tests.unit.learning.small_training import QUICK, tiny_backbone, training_set

SGD = replace(QUICK, optimizer="sgd", learning_rate=0.1)


def test_focal_loss_is_cross_entropy_times_what_is_not_learned_yet() -> None:
    logits_BC = torch.tensor([[math.log(3.0), 0.0]]).repeat(2, 1)  # probabilities 3/4 and 1/4
    recipe = Recipe(loss="focal", focal_gamma=2.0, label_smoothing=0.0)
    losses_B = losses_of(recipe, logits_BC, torch.tensor([0, 1]))
    expected = [-math.log(0.75) * 0.25**2, -math.log(0.25) * 0.75**2]
    assert losses_B.tolist() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_with_gamma_zero_is_cross_entropy() -> None:
    logits_BC, targets_B = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    focal_B = losses_of(Recipe(loss="focal", focal_gamma=0.0), logits_BC, targets_B)
    torch.testing.assert_close(focal_B, losses_of(Recipe(), logits_BC, targets_B))


def test_focal_loss_of_what_is_certain_still_has_a_gradient() -> None:
    logits_BC = torch.tensor([[200.0, 0.0]], requires_grad=True)
    recipe = Recipe(loss="focal", focal_gamma=0.5, label_smoothing=0.0)
    losses_of(recipe, logits_BC, torch.tensor([0])).sum().backward()
    assert torch.isfinite(logits_BC.grad).all()


@pytest.mark.parametrize("recipe", [SGD, replace(QUICK, loss="focal")], ids=["sgd", "focal"])
def test_a_network_learns_by_it(recipe: Recipe, tmp_path: Path) -> None:
    tuned = run(replace(recipe, epochs=12), tmp_path)
    assert tuned.history[tuned.best_epoch - 1]["val_accuracy"] > 0.9
    assert not same(tuned, run(replace(QUICK, epochs=12), tmp_path))


def test_sgd_goes_on_after_a_stop_to_exactly_the_same_weights(tmp_path: Path) -> None:
    whole = run(SGD, tmp_path / "whole")
    asked = iter(range(1000))
    with pytest.raises(Cancelled):
        run(SGD, tmp_path / "stopped", interrupted=lambda: next(asked) > 8)
    assert same(run(SGD, tmp_path / "stopped"), whole)


def run(recipe: Recipe, folder: Path, **options: object) -> FineTuned:
    pictures, labels_N = training_set(folder / "pictures")
    return fine_tune(tiny_backbone(), pictures, labels_N, 3, recipe, folder / "run", **options)


def same(one: FineTuned, other: FineTuned) -> bool:
    return all(torch.equal(tensor, other.state[name]) for name, tensor in one.state.items())
