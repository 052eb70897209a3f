"""torchvision's classification models: names, weights, preprocessing, and their last layer.

Knows torchvision. Does not know settings or what the networks are used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms.functional import InterpolationMode

from ml_backend.errors import WeightsUnavailable
from ml_backend.learning.preprocessing import Preprocessing
from ml_backend.learning.weights import download_once

_RESAMPLING = {
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}
# Trained on pictures scaled to -1..1, which they make of the usual ones themselves.
_TRANSFORM_THEIR_INPUT = ("googlenet", "inception_v3")


def names() -> list[str]:
    """List every classification model."""
    return list(torchvision.models.list_models(module=torchvision.models))


def weights_entry(name: str, weights: str) -> Any:
    """Look up torchvision's entry: URL and preprocessing. Raises WeightsUnavailable."""
    entries = torchvision.models.get_model_weights(name)
    try:
        return entries[weights]
    except KeyError:
        known = ", ".join(["DEFAULT", *(entry.name for entry in entries)])
        raise WeightsUnavailable(
            f"weights={weights!r}: {name} has {known}; or give the path of a .pth or .safetensors"
        ) from None


def preprocessing_of(entry: Any) -> Preprocessing:
    """Return what torchvision's own transforms of these weights do."""
    preset = entry.transforms()
    return Preprocessing(
        resize_px=preset.resize_size[0],
        crop_px=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        resampling=_RESAMPLING[preset.interpolation],
    )


def builder_options(name: str, crop_px: int) -> dict[str, Any]:
    """Return what the model's builder must be told, beside its name, for these weights."""
    if name.startswith("vit_"):
        return {"image_size": crop_px}  # decides how many position embeddings there are
    if name.startswith("maxvit_"):
        return {"input_size": [crop_px, crop_px]}
    if name in _TRANSFORM_THEIR_INPUT:
        return {"transform_input": True, "aux_logits": True, "init_weights": False}
    return {}


def build(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build the classifier with random weights."""
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network


def build_pretrained(name: str, entry: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Build the classifier with torchvision's weights; give the options that build it empty.

    Raises WeightsUnavailable where they cannot be downloaded.
    """
    download_once(entry.url)
    network: nn.Module = torchvision.models.get_model(name, weights=entry)
    options = builder_options(name, preprocessing_of(entry).crop_px)
    if "aux_logits" in options:  # torchvision drops GoogLeNet's, which it has no weights for
        options["aux_logits"] = bool(network.aux_logits)
    return network, options


def drop_last_layer(network: nn.Module) -> int:
    """Replace the classifier (the last linear or 1x1 convolution) by nothing.

    Returns the length of what it was given.
    """
    name, layer = last_layer(network)
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Identity())
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Find the classifier by its name in the network."""
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    return layers[-1]
