"""What is done to a picture before a network sees it.

Knows Pillow and tensors. Does not know which network comes after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is brought to the network's input: shorter side, centre crop, scale.

    Its repr is part of every embedding's key: change it together with EMBEDDING_REVISION.
    """

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

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "resize_px": self.resize_px,
            "crop_px": self.crop_px,
            "mean": list(self.mean),
            "std": list(self.std),
            "resampling": self.resampling.name,
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Preprocessing:
        """Read what `as_dict` gave. Raises KeyError, TypeError or ValueError."""
        return cls(
            resize_px=int(facts["resize_px"]),
            crop_px=int(facts["crop_px"]),
            mean=tuple(float(value) for value in facts["mean"]),
            std=tuple(float(value) for value in facts["std"]),
            resampling=Image.Resampling[facts["resampling"]],
        )


@dataclass(frozen=True, slots=True)
class InputChanges:
    """Where a person knows better than the weights' own preprocessing; None leaves it."""

    size_px: int | None = None  # of the square that the network sees
    resize_px: int | None = None  # of the shorter side before the crop
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None  # a name of Pillow's Resampling, in lower case

    def applied_to(self, own: Preprocessing) -> Preprocessing:
        """Change what is set. A new size keeps the share of the picture that is cropped."""
        size_px = self.size_px or own.crop_px
        return replace(
            own,
            crop_px=size_px,
            resize_px=self.resize_px or round(own.resize_px * size_px / own.crop_px),
            mean=self.mean or own.mean,
            std=self.std or own.std,
            resampling=(
                Image.Resampling[self.interpolation.upper()]
                if self.interpolation
                else own.resampling
            ),
        )
