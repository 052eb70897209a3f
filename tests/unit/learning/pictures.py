"""Small real images for the tests, as bytes of real files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def file_bytes(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def noise(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """Make an RGB picture that no other seed makes."""
    pixels_HWC = np.random.default_rng(seed).integers(0, 256, (*reversed(size), 3), dtype=np.uint8)
    return Image.fromarray(pixels_HWC)


def left_black_right_white(size: tuple[int, int] = (32, 16)) -> Image.Image:
    """Make a gray picture whose orientation can be told."""
    picture = Image.new("L", size, 0)
    picture.paste(255, (size[0] // 2, 0, *size))
    return picture
