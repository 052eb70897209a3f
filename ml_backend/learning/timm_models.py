"""timm's models, where timm is installed: `timm:NAME`, with timm's own preprocessing.

Knows timm, which is an optional extra and is imported when a model of it is first asked for.
Does not know settings or what the networks are used for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import nn

from ml_backend.errors import ConfigurationError, WeightsUnavailable
from ml_backend.learning.preprocessing import Preprocessing
from ml_backend.learning.weights import WHAT_TO_DO

PREFIX = "timm:"


def is_timm(architecture: str) -> bool:
    """Tell `timm:NAME` from torchvision's names."""
    return architecture.startswith(PREFIX)


def build(architecture: str, options: Mapping[str, Any], *, pretrained: bool = False) -> nn.Module:
    """Build the network without its classifier: pictures to pooled features (B, dim).

    `pretrained` lets timm download the weights of the name's tag, or find them in its cache.
    Raises ConfigurationError for a name that timm does not have, or without timm;
    WeightsUnavailable where the weights cannot be had.
    """
    timm, name = _timm(), architecture.removeprefix(PREFIX)
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        raise ConfigurationError(
            f"backbone={architecture!r}: timm {timm.__version__} has no such model"
            + (f"; near it are {', '.join(close)}" if close else "")
        )
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=0, **options
        )
    except Exception as error:  # no such tag, no weights, no internet: timm raises many kinds
        kind = WeightsUnavailable if pretrained else ConfigurationError
        raise kind(
            f"backbone={architecture!r}: {_first_line(error).rstrip('.')}. {WHAT_TO_DO}"
        ) from error
    return network


def builder_options(network: nn.Module, size_px: int) -> dict[str, Any]:
    """Return what the builder must be told for pictures of this size."""
    config = _config(network)
    if size_px == config["input_size"][1] or not _pretrained_cfg(network).get("fixed_input_size"):
        return {}
    return {"img_size": size_px}  # decides how many position embeddings there are


def preprocessing_of(architecture: str, network: nn.Module) -> Preprocessing:
    """Return what timm's own evaluation transforms of this model do."""
    config = _config(network)
    _, height, width = config["input_size"]
    if height != width:
        raise ConfigurationError(
            f"backbone={architecture!r}: its input is {width} x {height}; only squares are fed here"
        )
    return Preprocessing(
        resize_px=math.floor(height / config["crop_pct"]),  # rounded down by timm too
        crop_px=height,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        resampling=_resampling(config["interpolation"]),
    )


def classifier_names(network: nn.Module) -> tuple[str, ...]:
    """Name the layers that the model's classifier had, as checkpoints may hold them."""
    named = _pretrained_cfg(network).get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def tag_of(network: nn.Module) -> str:
    """Name the architecture and the weights' tag, as timm's hub does."""
    config = _pretrained_cfg(network)
    return ".".join(filter(None, (config.get("architecture", ""), config.get("tag", ""))))


def measured_dim(network: nn.Module, size_px: int) -> int:
    """Count the features that come out; timm's attributes name them in several ways."""
    with torch.inference_mode():
        return int(network.eval()(torch.zeros(1, 3, size_px, size_px)).flatten(1).shape[1])


def _config(network: nn.Module) -> dict[str, Any]:
    config: dict[str, Any] = _timm().data.resolve_model_data_config(network)
    return config


def _pretrained_cfg(network: nn.Module) -> dict[str, Any]:
    config: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    return config


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ConfigurationError(
            "backbone='timm:...' needs timm, which is not installed: "
            "pip install 'active-labeler[timm]'"
        ) from error
    return timm


def _resampling(interpolation: str) -> Image.Resampling:
    try:
        return Image.Resampling[interpolation.upper()]
    except KeyError:  # "random", which is for training
        return Image.Resampling.BICUBIC


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
