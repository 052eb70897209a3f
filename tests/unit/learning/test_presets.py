"""Presets say what they are, and what they say is so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from ml_backend.errors import ConfigurationError
from ml_backend.learning import torchvision_models
from ml_backend.learning.backbones import load_backbone
from ml_backend.learning.presets import PRESETS, SCRATCH_DESCRIPTION, names, resolve
from ml_backend.learning.scratch import MAX_DIM

PAGE = Path(__file__).parents[3] / "docs" / "backbones.md"


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_numbers_are_torchvisions_own(name: str) -> None:
    preset = PRESETS[name]
    meta = torchvision_models.weights_entry(preset.architecture, preset.weights).meta
    with torch.device("meta"):
        dim = torchvision_models.drop_last_layer(torchvision_models.build(preset.architecture, {}))
    for said in (
        f"{meta['num_params'] / 1e6:.1f} M parameters",
        f"({meta['_file_size']:.0f} MB)",
        f"{meta['_ops']:.{1 if meta['_ops'] > 1 else 2}f} billion operations",
        f"{dim:,} numbers",
        f"{meta['_metrics']['ImageNet-1K']['acc@1']:.1f} % on ImageNet",
    ):
        assert said in preset.description
    assert f"up to {MAX_DIM} numbers" in SCRATCH_DESCRIPTION


def test_default_weights_are_the_presets_and_others_win() -> None:
    assert resolve("balanced", "DEFAULT") == ("resnet50", "IMAGENET1K_V1")
    assert resolve("balanced", "mine.pth") == ("resnet50", "mine.pth")
    assert resolve("resnet18", "DEFAULT") == ("resnet18", "DEFAULT")


def test_fast_is_what_torchvision_calls_default() -> None:
    entry = torchvision.models.MobileNet_V3_Small_Weights
    assert entry[resolve("fast", "DEFAULT")[1]] is entry.DEFAULT


def test_the_page_shows_the_table_as_it_is() -> None:
    page = PAGE.read_text()
    for name in names():
        description = PRESETS[name].description if name in PRESETS else SCRATCH_DESCRIPTION
        assert f"| `{name}` | {description} |" in page


def test_scratch_is_not_a_network_that_can_be_loaded_by_name() -> None:
    with pytest.raises(ConfigurationError, match="trained on a project's own images"):
        load_backbone("scratch", "DEFAULT", "cpu", seed=0)
