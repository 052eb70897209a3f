"""A network of a few hundred weights and pictures that it can learn, for tests of training."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from ml_backend.learning.backbones import Backbone, Preprocessing
from ml_backend.learning.pictures import Item, Pictures
from ml_backend.learning.recipe import Recipe
from tests.unit.learning.pictures import file_bytes

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
LABELS = np.arange(300) % 3
# Everything that could differ between two runs: dropout, batch statistics, an average.
QUICK = Recipe(
    epochs=3, batch_size=8, learning_rate=0.02, freeze_norm=False, validation_share=0.2, patience=0
)


def tiny_backbone(dropout: float = 0.1) -> Backbone:
    """Two blocks, a norm and a dropout; 20 px in, 16 seen, 6 features out. Always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2),
            nn.Dropout(dropout),
            nn.AdaptiveAvgPool2d(1),
        )
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    preprocessing = Preprocessing(20, 16, (0.5,) * 3, (0.25,) * 3)
    cpu = torch.device("cpu")
    return Backbone(network, preprocessing, cpu, 6, "tiny", pretrained=False, architecture="tiny")


def coloured(number: int, label: int, size: tuple[int, int] = (24, 24)) -> bytes:
    """Make a picture of its class's colour, with noise of its own."""
    rng = np.random.default_rng(number)
    noise_HWC = rng.integers(-30, 30, (*reversed(size), 3))
    return file_bytes(Image.fromarray((noise_HWC + COLOURS[label]).clip(0, 255).astype(np.uint8)))


def item(data: bytes) -> Item:
    """Make an item for `Pictures.prepare`."""
    return sha256(data).hexdigest(), lambda: data


def training_set(folder: Path, n: int = 30) -> tuple[Pictures, NDArray[np.int64]]:
    """Store n pictures of three classes in turn."""
    labels_N = LABELS[:n]
    items = [item(coloured(number, label)) for number, label in enumerate(labels_N)]
    return Pictures.prepare(folder, tiny_backbone(), items, 10_000, 2), labels_N
