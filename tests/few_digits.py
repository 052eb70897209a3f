"""A few of scikit-learn's digits, one subfolder a class: images for tests that label them."""

from __future__ import annotations

import shutil
from pathlib import Path

from scripts.digits_images import write_digits

CLASSES = ("1", "4", "7")


def few_digits(folder: Path, images_a_class: int, *, size_px: int = 32) -> Path:
    """Write all digits into `folder/all`, and so many of three classes into the folder returned."""
    write_digits(folder / "all", size_px=size_px)
    for name in CLASSES:
        (folder / "few" / name).mkdir(parents=True)
        for file in sorted((folder / "all" / name).iterdir())[:images_a_class]:
            shutil.copy(file, folder / "few" / name)
    return folder / "few"
