"""Networks without weights, built from their facts.

Knows where architectures come from: torchvision, timm, the `scratch` one. Downloads nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from ml_backend.errors import ConfigurationError
from ml_backend.learning import patches, timm_models, torchvision_models
from ml_backend.learning.padding import pad_as_tensorflow

# What may depart from an architecture as it is built, by the names that keys and files know.
TENSORFLOW_PADDING = "padding=tensorflow"
# GoogLeNet and Inception from a file: they scale their input as their training did. (torchvision's
# own downloads do so too, and have keys that never said it.)
OWN_INPUT_SCALE = "transform_input=true"
VARIANTS = (TENSORFLOW_PADDING, OWN_INPUT_SCALE)


def source_of(architecture: str) -> str:
    """Name the library that builds an architecture: torchvision, timm or scratch."""
    if architecture == patches.ARCHITECTURE:
        return "scratch"
    return "timm" if timm_models.is_timm(architecture) else "torchvision"


def feature_network(
    architecture: str, options: Mapping[str, Any], variants: Collection[str], dim: int
) -> nn.Module:
    """Build the network up to its embedding, with random weights. Changes no random state.

    Raises ConfigurationError for what does not exist here, ValueError for unknown variants.
    """
    if unknown := set(variants) - set(VARIANTS):
        raise ValueError(f"variants {sorted(unknown)}: expected some of {VARIANTS}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _bare(architecture, options, dim)
    vary(network, variants)
    return network


def vary(network: nn.Module, variants: Collection[str]) -> None:
    """Make of a network, in place, the variant that is asked for."""
    if TENSORFLOW_PADDING in variants and not pad_as_tensorflow(network):
        raise ConfigurationError(
            "convolution_padding='tensorflow': this network has no strided convolution that pads"
        )


def _bare(architecture: str, options: Mapping[str, Any], dim: int) -> nn.Module:
    source = source_of(architecture)
    if source == "scratch":
        return patches.empty_patch_network(dim)
    if source == "timm":
        return timm_models.build(architecture, options)
    network = torchvision_models.build(architecture, options)
    torchvision_models.drop_last_layer(network)
    return network
