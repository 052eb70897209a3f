"""scikit-learn's handwritten digits as PNG files, one folder a class: images that need no download.

1,797 digits of 8 x 8 pixels that 43 people wrote (UCI, CC BY 4.0), dark on light as on paper, and
enlarged so that a person can read them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

INK = 16  # the darkest value of load_digits()
MARGIN = 2  # of the digit's own pixels, as on paper: it fills its 8 x 8 to the edges


def write_digits(folder: Path, *, size_px: int = 64) -> int:
    """Write all digits as `folder/<digit>/digit-<number>.png`; how many. Existing files stay."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels_HW, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        file = folder / str(digit) / f"digit-{number:04d}.png"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            render_digit(pixels_HW, size_px).save(file)
    return len(digits.target)


def render_digit(pixels_HW: NDArray[np.float64], size_px: int) -> Image.Image:
    """Draw one digit (0 is paper, 16 is ink) as a grey image of `size_px` squared."""
    light_HW = 255 - np.round(np.pad(pixels_HW, MARGIN) * (255 / INK)).astype(np.uint8)
    return Image.fromarray(light_HW).resize((size_px, size_px), Image.Resampling.BICUBIC)
