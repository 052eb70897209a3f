"""A few of scikit-learn's digits, one subfolder a class: images for tests that label them."""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts.digits_images import write_digits

CLASSES = ("1", "4", "7")


def few_digits(folder: Path, images_a_class: int, *, size_px: int = 32) -> Path:
    """Write all digits into `folder/all`, and so many of three classes into the folder returned."""
    write_digits(folder / "all", size_px=size_px)
    return copy_first(folder / "all", folder / "few", images_a_class)


def copy_first(source: Path, target: Path, images_a_class: int) -> Path:
    """Copy the first images of each of the three classes into a new folder; return it."""
    for name in CLASSES:
        (target / name).mkdir(parents=True)
        for file in sorted((source / name).iterdir())[:images_a_class]:
            shutil.copy(file, target / name)
    return target
