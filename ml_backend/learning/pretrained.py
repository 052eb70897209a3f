"""Networks with weights that somebody trained: torchvision's, timm's, or out of a file.

Knows where each comes from and what it needs to know of pictures. Never makes weights up.
"""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ml_backend.errors import ConfigurationError, WeightsUnavailable
from ml_backend.learning import presets, timm_models, torchvision_models
from ml_backend.learning.encoders import find_encoder
from ml_backend.learning.networks import OWN_INPUT_SCALE, TENSORFLOW_PADDING, vary
from ml_backend.learning.preprocessing import InputChanges, Preprocessing
from ml_backend.learning.weights import is_file_name, read_checkpoint, some_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A network up to its embedding, and how it came to be."""

    network: nn.Module
    preprocessing: Preprocessing
    dim: int
    options: dict[str, Any]
    variants: tuple[str, ...]
    origin: str  # of the weights, for people


def pretrained_network(
    architecture: str, weights: str, inputs: InputChanges, *, tensorflow_padding: bool
) -> Pretrained:
    """Build the network and give it its weights; they decide the preprocessing but for `inputs`.

    Raises ConfigurationError for names that do not exist, WeightsUnavailable.
    """
    if timm_models.is_timm(architecture):
        found = _of_timm(architecture, weights, inputs)
    elif architecture in torchvision_models.names():
        found = _of_torchvision(architecture, weights, inputs)
    else:
        raise ConfigurationError(_unknown(architecture))
    if not tensorflow_padding:
        return found
    vary(found.network, (TENSORFLOW_PADDING,))
    return replace(found, variants=(*found.variants, TENSORFLOW_PADDING))


def _of_torchvision(name: str, weights: str, inputs: InputChanges) -> Pretrained:
    from_file = is_file_name(weights)
    entry = torchvision_models.weights_entry(name, "DEFAULT" if from_file else weights)
    preprocessing = inputs.applied_to(torchvision_models.preprocessing_of(entry))
    if not from_file:
        network, options = torchvision_models.build_pretrained(name, entry)
        dim = torchvision_models.drop_last_layer(network)
        return Pretrained(network, preprocessing, dim, options, (), str(entry))
    options = torchvision_models.builder_options(name, preprocessing.crop_px)
    network = torchvision_models.build(name, options)
    classifier = torchvision_models.last_layer(network)[0]
    dim = torchvision_models.drop_last_layer(network)
    origin = _load_file(network, weights, (classifier,))
    variants = (OWN_INPUT_SCALE,) if options.get("transform_input") else ()
    return Pretrained(network, preprocessing, dim, options, variants, origin)


def _of_timm(architecture: str, weights: str, inputs: InputChanges) -> Pretrained:
    if not is_file_name(weights) and weights != "DEFAULT":
        raise WeightsUnavailable(
            f"weights={weights!r}: timm's weights go by the model's tag ({architecture}.TAG) and "
            "DEFAULT; or give the path of a .safetensors or .pth"
        )
    plain = timm_models.build(architecture, {})
    preprocessing = inputs.applied_to(timm_models.preprocessing_of(architecture, plain))
    options = timm_models.builder_options(plain, preprocessing.crop_px)
    if is_file_name(weights):
        network = timm_models.build(architecture, options) if options else plain
        origin = _load_file(network, weights, timm_models.classifier_names(network))
    else:
        network = timm_models.build(architecture, options, pretrained=True)
        origin = f"timm's {timm_models.tag_of(network)}"
    dim = timm_models.measured_dim(network, preprocessing.crop_px)
    return Pretrained(network, preprocessing, dim, options, (), origin)


def _load_file(network: nn.Module, weights: str, classifier: tuple[str, ...]) -> str:
    """Load every feature out of a file, log what was done to it, and say it in short."""
    place = repr(weights)
    encoder = find_encoder(network, read_checkpoint(Path(weights)), place, classifier)
    broken = [name for name, tensor in encoder.state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsUnavailable(
            f"weights={place}: not all values are finite numbers in {some_of(broken, 5)}"
        )
    network.load_state_dict(encoder.state, strict=True)
    if how := str(encoder):
        log.info("weights=%s: %s", place, how)
    for name in encoder.left_out:
        log.info("weights=%s: left out, as it is not part of the features: %s", place, name)
    return f"{weights}: {how}" if how else weights


def _unknown(name: str) -> str:
    if name == presets.SCRATCH:
        return (
            "backbone='scratch' is trained on a project's own images and cannot be loaded by name"
        )
    known = [*presets.names(), *torchvision_models.names()]
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    return (
        f"backbone={name!r}: there is no such model"
        + (f"; near it are {', '.join(close)}" if close else "")
        + f". Expected {', '.join(presets.names())}, a classification model of torchvision by its "
        "own name, or timm:NAME"
    )
