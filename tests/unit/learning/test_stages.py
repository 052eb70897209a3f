"""What lies early and late in networks of every kind."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from ml_backend.errors import ConfigurationError
from ml_backend.learning.recipe import Recipe
from ml_backend.learning.stages import blocks, parameter_groups, trained_blocks
from ml_backend.learning.torchvision_models import drop_last_layer


def bare(name: str) -> nn.Module:
    """Build a network without memory for weights."""
    with torch.device("meta"):
        network: nn.Module = torchvision.models.get_model(name, weights=None)
    drop_last_layer(network)
    return network


@pytest.mark.parametrize(
    ("name", "n_blocks", "last_stage_begins"),
    [
        ("mobilenet_v2", 19, "features.14."),  # stride 32
        ("squeezenet1_1", 9, "features.11."),
        ("resnet18", 9, "layer4.0."),
        ("resnet50", 17, "layer3.5."),
        ("vit_b_32", 13, "encoder.layers.encoder_layer_9."),
        ("convnext_tiny", 22, "features.5.7."),
        ("swin_t", 16, "features.5.5."),
        ("densenet121", 8, "features.transition3."),
    ],
)
def test_blocks_are_found_in_order_and_hold_every_parameter_once(
    name: str, n_blocks: int, last_stage_begins: str
) -> None:
    network = bare(name)
    found = blocks(network)
    names = [inner for block in found for inner, _ in block]
    assert sorted(names) == sorted(inner for inner, _ in network.named_parameters())
    assert len(found) == n_blocks
    first, _ = trained_blocks(network, Recipe(trained="last_stage"))[0]
    assert first[0][0].startswith(last_stage_begins)


def test_a_vits_class_token_and_positions_go_with_what_comes_first() -> None:
    found = blocks(bare("vit_b_32"))
    assert {"class_token", "conv_proj.weight"} <= {name for name, _ in found[0]}
    assert "encoder.ln.weight" in {name for name, _ in found[-1]}


def test_rates_fall_towards_the_beginning_alike_in_deep_and_shallow_networks() -> None:
    recipe = Recipe(trained="all", layer_decay=0.5)
    for name in ("squeezenet1_1", "resnet50"):
        shares = [share for _, share in trained_blocks(bare(name), recipe)]
        assert shares == sorted(shares)
        assert shares[0] == pytest.approx(0.5**12)
    even = trained_blocks(bare("resnet18"), Recipe(trained="all", layer_decay=1.0))
    assert {share for _, share in even} == {1.0}


def test_groups_hold_all_that_learns_and_vectors_are_not_decayed() -> None:
    network, classifier = bare("resnet18"), nn.Linear(512, 3, device="meta")
    recipe = Recipe(trained="all", weight_decay=0.1)
    groups = parameter_groups(trained_blocks(network, recipe), classifier, recipe)
    assert sum(len(g["params"]) for g in groups) == 2 + len(list(network.parameters()))
    assert {p.ndim > 1 for g in groups if g["weight_decay"] for p in g["params"]} == {True}
    assert groups[-1]["share"] == 1.0


def test_the_head_alone_needs_no_block_and_a_network_without_weights_has_none() -> None:
    nothing = nn.Flatten()
    assert trained_blocks(nothing, Recipe(trained="head")) == []
    with pytest.raises(ConfigurationError, match=r"trained='all'.*expected head"):
        trained_blocks(nothing, Recipe(trained="all"))
