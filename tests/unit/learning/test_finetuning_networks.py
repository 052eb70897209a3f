"""Fine-tuning on the real families of networks, made small: each learns where it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.vision_transformer import VisionTransformer

from ml_backend.learning.backbones import Backbone
from ml_backend.learning.finetuning import Recipe, fine_tune
from ml_backend.learning.pictures import Pictures
from ml_backend.learning.preprocessing import Preprocessing
from ml_backend.learning.torchvision_models import drop_last_layer
from tests.unit.learning.small_training import LABELS, coloured, item


def vision_transformer() -> nn.Module:
    return VisionTransformer(32, 8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32)


def convnext() -> nn.Module:
    stages = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 2)]
    return ConvNeXt(stages, stochastic_depth_prob=0.1)


@pytest.mark.parametrize(
    ("build", "frozen_early", "moved_late"),
    [
        (lambda: models.mobilenet_v2(width_mult=0.1), "features.0.", "features.18."),
        (models.squeezenet1_1, "features.0.", "features.12."),
        (models.resnet18, "conv1.", "layer4."),
        (vision_transformer, "class_token", "encoder.layers.encoder_layer_3."),
        (convnext, "features.0.", "features.3.1."),
    ],
    ids=["mobilenet_v2", "squeezenet1_1", "resnet18", "vit", "convnext"],
)
def test_the_last_stage_learns_and_the_beginning_stays(
    build: Callable[[], nn.Module], frozen_early: str, moved_late: str, tmp_path: Path
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build()
    dim = drop_last_layer(network)
    network = network.eval().requires_grad_(False)
    backbone = Backbone(
        network,
        Preprocessing(36, 32, (0.5,) * 3, (0.25,) * 3),
        torch.device("cpu"),
        dim,
        "small",
        pretrained=False,
        architecture="small",
    )
    items = [item(coloured(n, int(LABELS[n]), (40, 40))) for n in range(12)]
    pictures = Pictures.prepare(tmp_path / "p", backbone, items, 10_000, 2)
    recipe = Recipe(epochs=1, batch_size=6, trained="last_stage", freeze_norm=False)
    tuned = fine_tune(backbone, pictures, LABELS[:12], 3, recipe, tmp_path / "run")
    before = network.state_dict()
    moved = {name for name, tensor in tuned.state.items() if not torch.equal(tensor, before[name])}
    assert tuned.state.keys() == before.keys()
    assert not any(name.startswith(frozen_early) for name in moved)
    assert any(name.startswith(moved_late) for name in moved)
    assert np.isfinite(tuned.history[0]["train_loss"])
    everything = replace(recipe, trained="all", freeze_norm=True)
    tuned = fine_tune(backbone, pictures, LABELS[:12], 3, everything, tmp_path / "all")
    assert any(
        not torch.equal(tuned.state[name], before[name])
        for name in before
        if name.startswith(frozen_early)
    )
