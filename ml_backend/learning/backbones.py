"""The network that turns a picture into an embedding.

Knows torch. A backbone is a classification network without its last layer: its embedding is what
that layer would have been given. Does not know where pictures come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ml_backend.errors import ConfigurationError, CorruptFile
from ml_backend.learning import presets
from ml_backend.learning.networks import feature_network, source_of
from ml_backend.learning.preprocessing import InputChanges, Preprocessing
from ml_backend.learning.pretrained import pretrained_network
from ml_backend.learning.weights import content_hash, what_does_not_fit

# Part of every key. Raise it when a change here changes embeddings, so that cached ones are not
# mixed with new ones.
EMBEDDING_REVISION = 1
FACTS_FORMAT = 1
AS_THE_WEIGHTS_SAY = InputChanges()


@dataclass(frozen=True)
class Backbone:
    """A network ready to embed pictures."""

    network: nn.Module
    preprocessing: Preprocessing
    device: torch.device
    dim: int
    description: str
    pretrained: bool
    architecture: str
    options: Mapping[str, Any] = field(default_factory=dict)  # of the architecture's builder
    variants: tuple[str, ...] = ()  # how the network departs from what the builder makes

    @cached_property
    def key(self) -> str:
        """Names everything that decides an embedding's value. 16 hex digits."""
        facts = (self.architecture, self.preprocessing, EMBEDDING_REVISION, *self.variants)
        return content_hash(self.network.state_dict(), *facts)

    @property
    def facts(self) -> dict[str, Any]:
        """Say in JSON all that `rebuild_backbone` needs beside the network's state."""
        return {
            "format": FACTS_FORMAT,
            "source": source_of(self.architecture),
            "architecture": self.architecture,
            "options": dict(self.options),
            "variants": list(self.variants),
            "dim": self.dim,
            "pretrained": self.pretrained,
            "preprocessing": self.preprocessing.as_dict(),
        }

    @property
    def decode_at_least_px(self) -> int:
        """How long both sides of a decoded picture must be for nothing to be lost."""
        return self.preprocessing.resize_px

    def preprocess(self, image: Image.Image) -> Tensor:
        """Bring an RGB picture to the network's input size: uint8 (3, H, W). Thread-safe."""
        return self.preprocessing.apply(image)

    def embed(self, pictures: Sequence[Tensor]) -> NDArray[np.float32]:
        """Embed preprocessed pictures: (B, dim). What does not fit the GPU's memory is halved."""
        try:
            return self._forward(torch.stack(list(pictures)))
        except torch.OutOfMemoryError:
            if len(pictures) == 1:
                raise
        middle = len(pictures) // 2
        return np.concatenate([self.embed(pictures[:middle]), self.embed(pictures[middle:])])

    def _forward(self, pixels_BCHW: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            inputs = self.preprocessing.normalise(pixels_BCHW.to(self.device))
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            embeddings: Tensor = self.network(inputs).flatten(1).float()
            return np.asarray(embeddings.cpu().numpy(), dtype=np.float32)


def choose_device(name: str) -> torch.device:
    """Resolve auto, cpu, cuda or cuda:N. Raises ConfigurationError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(f"device={name!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(
            f"device={name!r}: torch sees {torch.cuda.device_count()} GPUs here; use auto or cpu"
        )
    return device


def default_threads() -> int:
    """Leave one core to Label Studio and the web process.

    Threads of one product wait for each other: with both of two cores busy elsewhere, SqueezeNet
    embedded 30 images/s on two threads and 115 on one (130 on two where nothing else ran).
    """
    return max(1, int(joblib.cpu_count()) - 1)  # knows of affinity and container quotas


def load_backbone(
    name: str,
    weights: str,
    device: str,
    *,
    seed: int,
    threads: int | None = None,
    inputs: InputChanges = AS_THE_WEIGHTS_SAY,
    tensorflow_padding: bool = False,
) -> Backbone:
    """Load a network without its classifier.

    `name` is a preset, a classification model of torchvision, or timm:NAME. `weights` is DEFAULT, a
    torchvision weights name, or the path of a checkpoint (`encoders` says what it may look like).
    `threads` sets torch's CPU threads in the whole process. `seed` has no influence on pretrained
    weights; it keeps building the network off torch's global random state.

    Raises ConfigurationError for a name or device that does not exist, WeightsUnavailable where
    the weights cannot be had.
    """
    torch.set_num_threads(threads or default_threads())
    architecture, weights = presets.resolve(name, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded = pretrained_network(
            architecture, weights, inputs, tensorflow_padding=tensorflow_padding
        )
    return Backbone(
        network=_ready(loaded.network, chosen := choose_device(device)),
        preprocessing=loaded.preprocessing,
        device=chosen,
        dim=loaded.dim,
        description=f"{architecture} with pretrained weights ({loaded.origin})",
        pretrained=True,
        architecture=architecture,
        options=loaded.options,
        variants=loaded.variants,
    )


def rebuild_backbone(
    facts: Mapping[str, Any],
    state: Mapping[str, Tensor],
    device: torch.device | str,
    description: str = "",
) -> Backbone:
    """Build the network that `Backbone.facts` tells of, and load its whole state into it.

    Downloads nothing. Raises CorruptFile naming what does not fit, ConfigurationError where the
    architecture is not to be had here (timm is not installed, or too old).
    """
    try:
        backbone = _bare_backbone(facts, torch.device(device), description)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(
            f"facts of a backbone cannot be read: {type(error).__name__}: {error}"
        ) from error
    if misfits := what_does_not_fit(backbone.network.state_dict(), state):
        raise CorruptFile(f"weights are not those of {backbone.architecture}. {misfits}")
    backbone.network.load_state_dict(dict(state), strict=True)
    return replace(backbone, network=_ready(backbone.network, backbone.device))


def _bare_backbone(facts: Mapping[str, Any], device: torch.device, description: str) -> Backbone:
    if facts["format"] != FACTS_FORMAT:
        raise ValueError(f"format {facts['format']!r}, expected {FACTS_FORMAT}")
    architecture, options = str(facts["architecture"]), dict(facts["options"])
    variants, dim = tuple(facts["variants"]), int(facts["dim"])
    return Backbone(
        network=feature_network(architecture, options, variants, dim),
        preprocessing=Preprocessing.from_dict(facts["preprocessing"]),
        device=device,
        dim=dim,
        description=description or architecture,
        pretrained=bool(facts["pretrained"]),
        architecture=architecture,
        options=options,
        variants=variants,
    )


def _ready(network: nn.Module, device: torch.device) -> nn.Module:
    # channels_last is 10-15 % faster on a CPU, more on a GPU
    ready: nn.Module = network.eval().requires_grad_(False).to(device)
    return ready.to(memory_format=torch.channels_last)
