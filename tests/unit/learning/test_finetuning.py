"""A fine-tune: learns, can be stopped and gone on with, touches nothing that is not its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from ml_backend.errors import Cancelled, ConfigurationError, CorruptFile, TrainingDiverged
from ml_backend.learning.finetuning import FineTuned, Progress, Recipe, fine_tune
from ml_backend.learning.pictures import Pictures
from tests.unit.learning.small_training import QUICK, tiny_backbone, training_set


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return training_set(tmp_path_factory.mktemp("pictures") / "p")[0]


LABELS_N = np.arange(30) % 3


@pytest.fixture
def tune(pictures: Pictures, tmp_path: Path) -> Callable[..., FineTuned]:
    def run(recipe: Recipe = QUICK, folder: str = "run", **options: Any) -> FineTuned:
        labels_N = options.pop("labels_N", LABELS_N)
        return fine_tune(
            tiny_backbone(), pictures, labels_N, 3, recipe, tmp_path / folder, **options
        )

    return run


def same(one: FineTuned, other: FineTuned) -> bool:
    tensors = [(a, other.state[name]) for name, a in one.state.items()]
    tensors += [(one.classifier_weight, other.classifier_weight)]
    tensors += [(one.classifier_bias, other.classifier_bias)]
    return all(torch.equal(a, b) for a, b in tensors)


def stop_in_step(step: int) -> Callable[[], bool]:
    asked = iter(range(10_000))
    return lambda: next(asked) >= step


def test_it_learns_and_its_classifier_takes_plain_embeddings(
    tune: Callable[..., FineTuned], pictures: Pictures
) -> None:
    tuned = tune(replace(QUICK, epochs=10))
    backbone = tiny_backbone()
    backbone.network.load_state_dict(tuned.state)
    crop = torch.from_numpy(pictures.rows(np.arange(30)))[:, 2:18, 2:18].permute(0, 3, 1, 2)
    embeddings = torch.from_numpy(backbone.embed(list(crop)))
    logits = embeddings @ tuned.classifier_weight.T + tuned.classifier_bias
    assert (logits.argmax(dim=1).numpy() == LABELS_N).mean() > 0.9
    validating = tuned.validation_rows
    best = tuned.history[tuned.best_epoch - 1]
    loss = nn.functional.cross_entropy(logits[validating], torch.from_numpy(LABELS_N)[validating])
    assert best["val_loss"] == pytest.approx(float(loss), abs=1e-4)


def test_the_same_call_gives_the_same_weights_and_another_seed_others(
    tune: Callable[..., FineTuned],
) -> None:
    one, again = tune(folder="one"), tune(folder="two")
    assert same(one, again)
    assert not same(one, tune(replace(QUICK, seed=1), folder="three"))


def test_a_killed_run_goes_on_to_exactly_the_same_weights(tune: Callable[..., FineTuned]) -> None:
    whole = tune(folder="whole")
    with pytest.raises(Cancelled):
        tune(folder="killed", interrupted=stop_in_step(9))  # in the second or third epoch
    torch.rand(3)  # whatever else used the random state meanwhile
    seen: list[Progress] = []
    resumed = tune(folder="killed", on_progress=seen.append)
    assert seen[0].epoch > 1
    assert same(whole, resumed)
    losses = [[row["train_loss"] for row in run.history] for run in (whole, resumed)]
    assert losses[0] == losses[1]


def test_a_finished_run_is_not_run_again(tune: Callable[..., FineTuned]) -> None:
    first = tune()
    seen: list[Progress] = []
    assert same(first, tune(on_progress=seen.append))
    assert not seen


def test_another_recipe_or_other_labels_begin_anew(tune: Callable[..., FineTuned]) -> None:
    tune()
    for changed in ({"recipe": replace(QUICK, weight_decay=0.0)}, {"labels_N": LABELS_N[::-1]}):
        seen: list[Progress] = []
        tune(on_progress=seen.append, **changed)
        assert seen[0].epoch == 1


@pytest.mark.parametrize("damage", ["tensors.safetensors", "card.json"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_serves(
    tune: Callable[..., FineTuned], tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    whole = tune(folder="run")
    newest = sorted((tmp_path / "run").iterdir())[-1] / damage
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    seen: list[Progress] = []
    with caplog.at_level(logging.ERROR):
        resumed = tune(folder="run", on_progress=seen.append)
    assert "damaged" in caplog.text
    assert {progress.epoch for progress in seen} == {3}
    assert same(whole, resumed)


def test_checkpoints_hold_safetensors_and_json_and_two_epochs(
    tune: Callable[..., FineTuned], tmp_path: Path
) -> None:
    tune()
    files = {str(f.relative_to(tmp_path / "run")) for f in (tmp_path / "run").rglob("*.*")}
    assert files == {
        f"epoch-0000{epoch}/{name}"
        for epoch in (2, 3)
        for name in ("card.json", "tensors.safetensors")
    }


def test_the_callers_network_and_random_state_are_left_alone(
    pictures: Pictures, tmp_path: Path
) -> None:
    backbone = tiny_backbone()
    before = {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}
    state = torch.get_rng_state()
    fine_tune(backbone, pictures, LABELS_N, 3, QUICK, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], t) for n, t in backbone.network.state_dict().items())
    assert not any(p.requires_grad for p in backbone.network.parameters())
    assert not backbone.network.training


@pytest.mark.parametrize(
    ("trained", "changed"),
    [("head", set()), ("last_stage", {"3"}), ("all", {"0", "1", "3"})],
)
def test_only_what_is_to_be_trained_changes(
    tune: Callable[..., FineTuned], trained: Any, changed: set[str]
) -> None:
    tuned = tune(replace(QUICK, trained=trained))
    before = tiny_backbone().network.state_dict()
    moved = {n.split(".")[0] for n, t in tuned.state.items() if not torch.equal(t, before[n])}
    assert moved == changed


def test_frozen_norms_keep_statistics_and_weights(tune: Callable[..., FineTuned]) -> None:
    before = tiny_backbone().network.state_dict()
    tuned = tune(replace(QUICK, freeze_norm=True))
    for name in ("1.weight", "1.bias", "1.running_mean", "1.running_var"):
        assert torch.equal(tuned.state[name], before[name])
    assert not torch.equal(tuned.state["0.weight"], before["0.weight"])


def test_it_begins_from_other_weights_where_they_are_given(tune: Callable[..., FineTuned]) -> None:
    first = tune(folder="first")
    slow = replace(QUICK, epochs=1, learning_rate=1e-9, ema_decay=0.0, freeze_norm=True)
    start = {name: tensor.clone() for name, tensor in first.state.items()}
    classifier = (first.classifier_weight, first.classifier_bias)
    warm = tune(slow, folder="warm", start=start, classifier_start=classifier)
    assert all(torch.allclose(warm.state[n], t, atol=1e-5) for n, t in start.items())
    assert torch.allclose(warm.classifier_weight, first.classifier_weight, atol=1e-4)
    assert torch.allclose(warm.classifier_bias, first.classifier_bias, atol=1e-3)
    with pytest.raises(CorruptFile, match="not a state of tiny"):
        tune(folder="wrong", start={"0.weight": torch.zeros(1)})


def test_it_stops_early_and_returns_the_best_weights(tune: Callable[..., FineTuned]) -> None:
    wild = replace(QUICK, epochs=30, learning_rate=0.5, patience=2, warmup_share=0.0)
    tuned = tune(wild)
    assert len(tuned.history) == tuned.best_epoch + 2 < 30
    losses = [row["val_loss"] for row in tuned.history]
    assert losses[tuned.best_epoch - 1] == min(losses)


def test_without_rows_to_judge_by_the_last_epoch_counts(tune: Callable[..., FineTuned]) -> None:
    tuned = tune(replace(QUICK, validation_share=0.0, patience=1))
    assert len(tuned.validation_rows) == 0
    assert (tuned.best_epoch, len(tuned.history)) == (3, 3)
    assert tuned.history[-1]["val_loss"] is None


def test_progress_counts_steps_and_time(tune: Callable[..., FineTuned]) -> None:
    seen: list[Progress] = []
    tune(on_progress=seen.append)
    assert [p.step for p in seen] == list(range(1, 10))
    assert {p.steps for p in seen} == {9}
    assert [p.epoch for p in seen] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert seen[0].validation_loss is None
    assert seen[-1].validation_loss is not None
    assert seen[-1].eta_s == 0 < seen[0].eta_s
    assert all(p.images_per_s > 0 for p in seen)


def test_others_come_first_between_batches(tune: Callable[..., FineTuned]) -> None:
    calls: list[int] = []
    tuned = tune(give_way=lambda: calls.append(1))
    assert len(calls) >= 9
    row = tuned.history[0]
    assert {"train_loss", "learning_rate", "seconds", "images_per_s", "data_wait_share"} < set(row)
    assert 0 <= row["data_wait_share"] < 1
    assert tuned.hardware["threads"] >= 1


def test_losses_that_are_no_numbers_end_the_run_with_the_reason(
    pictures: Pictures, tmp_path: Path
) -> None:
    backbone = tiny_backbone()
    with torch.no_grad():
        backbone.network[0].bias.fill_(float("nan"))  # type: ignore[index,union-attr]
    recipe = replace(QUICK, freeze_norm=True, epochs=5)
    with pytest.raises(TrainingDiverged, match=r"5 steps in a row.*lower learning_rate"):
        fine_tune(backbone, pictures, LABELS_N, 3, recipe, tmp_path / "run")


def test_labels_that_do_not_fit_the_pictures_are_refused(tune: Callable[..., FineTuned]) -> None:
    with pytest.raises(ValueError, match=r"expected \(30,\)"):
        tune(labels_N=LABELS_N[:4])
    with pytest.raises(ValueError, match=r"expected 0\.\.2"):
        tune(labels_N=LABELS_N + 1)


def test_a_network_that_cannot_learn_is_refused_before_anything_is_done(
    pictures: Pictures, tmp_path: Path
) -> None:
    backbone = replace(tiny_backbone(), network=nn.AdaptiveAvgPool2d(1), dim=3)
    with pytest.raises(ConfigurationError, match="trained='all'"):
        fine_tune(backbone, pictures, LABELS_N, 3, QUICK, tmp_path / "run")
    tuned = fine_tune(
        backbone, pictures, LABELS_N, 3, replace(QUICK, trained="head"), tmp_path / "run"
    )
    assert tuned.state == {}
    assert tuned.history[-1]["val_accuracy"] > 0.9


@pytest.mark.parametrize(
    "options",
    [
        {"augment": "photo"},
        {"class_balance": "loss"},
        {"class_balance": "sampler"},
        {"ema_decay": 0.0, "clip_norm": 0.0},
        {"augment": "overhead", "batch_size": 1},
    ],
)
def test_every_setting_comes_to_finite_losses(
    tune: Callable[..., FineTuned], options: dict[str, Any]
) -> None:
    tuned = tune(replace(QUICK, epochs=1, freeze_norm=True, **options))
    assert np.isfinite(tuned.history[-1]["train_loss"])


def test_the_state_can_be_saved_as_it_is(tune: Callable[..., FineTuned]) -> None:
    tuned = tune(replace(QUICK, epochs=1))
    loaded: dict[str, Tensor] = safetensors.torch.load(safetensors.torch.save(tuned.state))
    assert loaded.keys() == tiny_backbone().network.state_dict().keys()
