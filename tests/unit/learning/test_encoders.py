"""Checkpoints as trainings write them: wrapped, prefixed, with heads; whole, or refused by name."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from ml_backend.errors import WeightsUnavailable
from ml_backend.learning.backbones import Backbone, load_backbone, rebuild_backbone
from ml_backend.learning.encoders import find_encoder
from ml_backend.learning.torchvision_models import build, drop_last_layer
from tests.unit.learning.pictures import noise

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def features() -> State:
    """The features of a trained ResNet-18: everything but `fc`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build("resnet18", {})
    drop_last_layer(network)
    return dict(network.state_dict())


@pytest.fixture(scope="module")
def plain(features: State, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load(features, tmp_path_factory.mktemp("plain"))


def load(checkpoint: dict[str, Any], folder: Path) -> Backbone:
    torch.save(checkpoint, folder / "checkpoint.pth")
    return load_backbone("resnet18", str(folder / "checkpoint.pth"), "cpu", seed=0)


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def others(state: State) -> State:
    """The same network with other weights."""
    return {name: tensor + 1 for name, tensor in state.items()}


def numbered(state: State) -> State:
    """Name layers as nn.Sequential(*children) does: conv1 is 0, bn1 is 1, layer1 is 4."""
    rows = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    return {
        f"{rows[name.partition('.')[0]]}.{name.partition('.')[2]}": tensor
        for name, tensor in state.items()
    }


HEAD = {"0.weight": torch.ones(4, 512), "0.bias": torch.ones(4), "2.weight": torch.ones(2, 4)}


def moco(f: State) -> dict[str, Any]:
    state = under("module.encoder_q.", f) | under("module.encoder_q.fc.", HEAD)
    state |= under("module.encoder_k.", others(f)) | under("module.encoder_k.fc.", HEAD)
    return {
        "epoch": 200,
        "arch": "resnet18",
        "state_dict": state | {"module.queue": torch.ones(8, 4), "module.queue_ptr": torch.ones(1)},
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": []},
    }


CHECKPOINTS = {
    "plain, with a classifier of 3 classes": lambda f: f | {"fc.weight": torch.ones(3, 512)},
    "under state_dict": lambda f: {"state_dict": f, "epoch": 3},
    "under model": lambda f: {"model": f, "optimizer": {}},
    "DistributedDataParallel": lambda f: under("module.", f),
    "torch.compile": lambda f: under("_orig_mod.", f),
    "MoCo v1 and v2": moco,
    "MoCo v3": lambda f: {
        "state_dict": under("module.momentum_encoder.", others(f))
        | under("module.base_encoder.", f)
        | under("module.base_encoder.fc.", HEAD)
        | under("module.predictor.", HEAD)
    },
    "SimSiam": lambda f: {
        "state_dict": under("module.encoder.", f)
        | under("module.encoder.fc.", HEAD)
        | under("module.predictor.", HEAD)
    },
    "SimCLR": lambda f: {"state_dict": under("backbone.", f) | under("backbone.fc.", HEAD)},
    "DINO": lambda f: {
        "student": under("module.backbone.", others(f)) | under("module.head.mlp.", HEAD),
        "teacher": under("backbone.", f) | under("head.mlp.", HEAD),
        "dino_loss": {"center": torch.ones(1, 4)},
    },
    "BYOL": lambda f: under("target_encoder.net.", others(f)) | under("online_encoder.net.", f),
    "averaged weights beside the last": lambda f: {"state_dict": others(f), "state_dict_ema": f},
    "VISSL": lambda f: {
        "classy_state_dict": {
            "base_model": {"model": {"trunk": under("_feature_blocks.", f), "heads": HEAD}}
        }
    },
    "lightly": lambda f: {
        "state_dict": under("backbone.", numbered(f)) | under("projection_head.layers.", HEAD),
        "hyper_parameters": {"lr": 0.1},
    },
    "lightly's DINO": lambda f: (
        under("student_backbone.", others(numbered(f))) | under("teacher_backbone.", numbered(f))
    ),
    "before batch norm counted": lambda f: {k: v for k, v in f.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_the_features_are_found_and_everything_else_is_left_out(
    kind: str, features: State, plain: Backbone, tmp_path: Path
) -> None:
    found = load(CHECKPOINTS[kind](features), tmp_path)
    assert found.key == plain.key
    assert rebuild_backbone(found.facts, found.network.state_dict(), "cpu").key == plain.key


def test_what_was_stripped_and_left_out_is_told(
    features: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        backbone = load(moco(features), tmp_path)
    assert "inside 'state_dict', prefix 'module.encoder_q.' stripped" in backbone.description
    assert "prefix 'module.encoder_q.' stripped" in caplog.text
    assert "left out, as it is not part of the features: module.encoder_q.fc.0.bias" in caplog.text
    assert "left out, as it is not part of the features: module.queue" in caplog.text


def test_a_plain_checkpoint_says_no_more_than_its_name(plain: Backbone) -> None:
    assert plain.description.endswith("checkpoint.pth)")


def test_safetensors_with_a_prefix_are_read(
    features: State, plain: Backbone, tmp_path: Path
) -> None:
    state = {k: v.contiguous() for k, v in under("module.", features).items()}
    safetensors.torch.save_file(state, tmp_path / "encoder.safetensors")
    found = load_backbone("resnet18", str(tmp_path / "encoder.safetensors"), "cpu", seed=0)
    assert found.key == plain.key
    assert np.isfinite(found.embed([found.preprocess(noise(0))])).all()


def test_one_feature_that_is_missing_is_enough_to_refuse(features: State, tmp_path: Path) -> None:
    state = under("module.encoder_q.", features)
    del state["module.encoder_q.layer3.1.bn2.weight"]
    with pytest.raises(
        WeightsUnavailable,
        match=r"prefix 'module.encoder_q.' stripped\). Missing: layer3\.1\.bn2\.weight\.",
    ):
        load({"state_dict": state}, tmp_path)


def test_a_feature_of_another_shape_is_refused(features: State, tmp_path: Path) -> None:
    state = features | {"conv1.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(WeightsUnavailable, match=r"conv1\.weight: expected \(64, 3, 7, 7\), found"):
        load(state, tmp_path)


def test_values_that_are_not_numbers_are_refused(features: State, tmp_path: Path) -> None:
    broken = torch.full_like(features["bn1.weight"], torch.nan)
    with pytest.raises(WeightsUnavailable, match=r"not all values are finite .* bn1\.weight"):
        load(features | {"bn1.weight": broken}, tmp_path)


def test_a_checkpoint_that_holds_itself_is_refused(features: State, tmp_path: Path) -> None:
    around: dict[str, Any] = dict(features)
    around["again"] = around
    with pytest.raises(WeightsUnavailable, match="RecursionError"):
        load(around, tmp_path)


def test_layers_that_the_network_does_not_have_are_refused(features: State, tmp_path: Path) -> None:
    deeper = features | {"layer4.2.conv1.weight": torch.zeros(1)}
    with pytest.raises(WeightsUnavailable, match=r"Unexpected: layer4\.2\.conv1\.weight\."):
        load({"model": under("module.", deeper)}, tmp_path)


def test_objects_beside_the_tensors_are_refused_and_what_to_do_is_told(
    features: State, tmp_path: Path
) -> None:
    with pytest.raises(WeightsUnavailable, match=r"argparse.Namespace.*save_file"):
        load({"teacher": features, "args": argparse.Namespace(lr=1)}, tmp_path)


def test_a_head_is_a_head_only_where_the_network_has_no_such_features() -> None:
    network = nn.ModuleDict({"head": nn.Linear(2, 2), "tail": nn.Linear(2, 2)})
    state = dict(network.state_dict())
    find_encoder(network, state | {"fc.weight": torch.ones(2)}, "'x'", ())
    with pytest.raises(WeightsUnavailable, match=r"Unexpected: head\.extra\."):
        find_encoder(network, state | {"head.extra": torch.ones(2)}, "'x'", ())
