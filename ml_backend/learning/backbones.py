"""The network that turns a picture into an embedding.

Knows torch and torchvision. A backbone is a classification network without its last layer: its
embedding is what that layer would have been given. Does not know where pictures come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import InterpolationMode

from ml_backend.errors import ConfigurationError, WeightsUnavailable
from ml_backend.learning.weights import (
    content_hash,
    download_once,
    is_file_name,
    load_strictly,
    read_state_dict,
)

# Part of every key. Raise it when a change here changes embeddings, so that cached ones are not
# mixed with new ones.
EMBEDDING_REVISION = 1

_RESAMPLING = {
    InterpolationMode.BILINEAR: Image.Resampling.BILINEAR,
    InterpolationMode.BICUBIC: Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is brought to the network's input: shorter side, centre crop, scale."""

    resize_px: int
    crop_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resampling: Image.Resampling = Image.Resampling.BILINEAR

    def apply(self, image: Image.Image) -> Tensor:
        """Resize and crop an RGB picture to uint8 (3, crop_px, crop_px)."""
        scale = self.resize_px / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        # The crop is cut out of the source while resizing, which spares the rest of a long side.
        left, top = (max(0.0, (side - self.crop_px) / 2 / scale) for side in size)
        right = min(left + self.crop_px / scale, image.width)
        bottom = min(top + self.crop_px / scale, image.height)
        box = (left, top, right, bottom)
        pixels_HWC = np.array(image.resize((self.crop_px,) * 2, self.resampling, box=box))
        return torch.from_numpy(pixels_HWC).permute(2, 0, 1)

    def normalise(self, pixels_BCHW: Tensor) -> Tensor:
        """Scale uint8 pixels as the weights expect them."""
        mean = torch.tensor(self.mean, device=pixels_BCHW.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=pixels_BCHW.device).view(-1, 1, 1)
        return (pixels_BCHW.float() / 255 - mean) / std


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

    @cached_property
    def key(self) -> str:
        """Names everything that decides an embedding's value. 16 hex digits."""
        facts = (self.architecture, self.preprocessing, EMBEDDING_REVISION)
        return content_hash(self.network.state_dict(), *facts)

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
    name: str, weights: str, device: str, *, seed: int, threads: int | None = None
) -> Backbone:
    """Load a torchvision classification network without its last layer.

    `weights` is a torchvision weights name, DEFAULT, or the path of a state dict with the last
    layer in it. `threads` sets torch's CPU threads in the whole process. `seed` has no influence
    on pretrained weights; it keeps building the network off torch's global random state.

    Raises ConfigurationError for a name or device that does not exist, WeightsUnavailable where
    the weights cannot be had.
    """
    torch.set_num_threads(threads or default_threads())
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ConfigurationError(f"backbone={name!r}: expected {_names()}, or scratch")
    from_file = is_file_name(weights)
    entry = _weights_entry(name, "DEFAULT" if from_file else weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if from_file:
            network = _from_file(name, Path(weights))
        else:
            download_once(entry.url)
            network = torchvision.models.get_model(name, weights=entry)
    dim = drop_last_layer(network)
    return Backbone(
        network=_ready(network, chosen := choose_device(device)),
        preprocessing=_preprocessing(entry),
        device=chosen,
        dim=dim,
        description=f"{name} with pretrained weights ({weights if from_file else entry})",
        pretrained=True,
        architecture=name,
    )


def drop_last_layer(network: nn.Module) -> int:
    """Replace the classifier (the last linear or 1x1 convolution) by nothing.

    Returns the length of what it was given.
    """
    name, layer = _last_layer(network)
    parent = network.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], nn.Identity())
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    return layers[-1]


def _from_file(name: str, path: Path) -> nn.Module:
    """Build the network for as many classes as the file was trained on, and load it."""
    state = read_state_dict(path)
    build: Callable[..., nn.Module] = torchvision.models.get_model_builder(name)
    network = build(weights=None)
    last = _last_layer(network)[0] + ".weight"
    if last in state and state[last].shape != network.state_dict()[last].shape:
        network = build(weights=None, num_classes=state[last].shape[0])
    load_strictly(network, state, path)
    return network


def _weights_entry(name: str, weights: str) -> Any:
    """Look up torchvision's entry: URL and preprocessing."""
    entries = torchvision.models.get_model_weights(name)
    try:
        return entries[weights]
    except KeyError:
        known = ", ".join(["DEFAULT", *(entry.name for entry in entries)])
        raise WeightsUnavailable(
            f"weights={weights!r}: {name} has {known}; or give the path of a .pth or .safetensors"
        ) from None


def _preprocessing(entry: Any) -> Preprocessing:
    preset = entry.transforms()
    return Preprocessing(
        resize_px=preset.resize_size[0],
        crop_px=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        resampling=_RESAMPLING[preset.interpolation],
    )


def _ready(network: nn.Module, device: torch.device) -> nn.Module:
    # channels_last is 10-15 % faster on a CPU, more on a GPU
    ready: nn.Module = network.eval().requires_grad_(False).to(device)
    return ready.to(memory_format=torch.channels_last)


def _names() -> str:
    return ", ".join(torchvision.models.list_models(module=torchvision.models))
