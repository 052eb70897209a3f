"""Pictures that a data set holds as arrays or in memory, as the bytes of an image file.

Knows Pillow and numpy. Lossless: what is decoded from the bytes is what was given.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from ml_backend.errors import ImageUnreadable


def png_of(picture: Any) -> bytes:
    """Return a Pillow picture or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as PNG.

    Arrays are uint8, or real numbers in 0..1. Raises ImageUnreadable.
    """
    image = picture if isinstance(picture, Image.Image) else _from_array(picture)
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _from_array(picture: Any) -> Image.Image:
    array = np.asarray(picture)
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        array = np.round(array * 255).astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shaped:
        raise ImageUnreadable(
            f"an array of shape {array.shape} and {array.dtype} is no picture: expected (height, "
            "width) or (height, width, channels) of uint8, or of numbers in 0..1"
        )
    return Image.fromarray(array)
