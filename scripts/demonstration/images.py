"""The demo's images: which there are, what they show, and which are held back for measuring.

A folder with one subfolder a class. Names in Label Studio are numbers, so that no file name tells
a person or a model the answer.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import click
import numpy as np

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
HOLDOUT_SHARE = 0.2
HOLDOUT_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One image file and the class that it shows, which only the oracle knows."""

    file: Path
    label: str


@dataclass(frozen=True, slots=True)
class DemoImages:
    """`pool` goes into Label Studio; `holdout` never does, and accuracy is measured on it."""

    classes: tuple[str, ...]
    pool: tuple[LabeledImage, ...]
    holdout: tuple[LabeledImage, ...]


def read_images(folder: Path, *, seed: int = 0) -> DemoImages:
    """Find the images of a folder with one subfolder a class, and hold a fifth of each class back.

    The same folder gives the same split. Raises click.ClickException where there is no such folder.
    """
    found = [
        LabeledImage(file, file.parent.name)
        for file in sorted(folder.glob("*/*"))
        if file.suffix.lower() in SUFFIXES
    ]
    classes = tuple(sorted({image.label for image in found}))
    if len(classes) < 2:
        raise click.ClickException(
            f"{folder}: found images in {len(classes)} subfolders, expected one subfolder a class, "
            f"two at least, with {', '.join(sorted(SUFFIXES))} files in them"
        )
    held = _held_back(found, seed)
    return DemoImages(
        classes,
        pool=tuple(image for image in found if image not in held),
        holdout=tuple(image for image in found if image in held),
    )


def _held_back(images: list[LabeledImage], seed: int) -> set[LabeledImage]:
    by_class = defaultdict(list)
    for image in images:
        by_class[image.label].append(image)
    share = min(HOLDOUT_SHARE, HOLDOUT_AT_MOST / len(images))
    rng = np.random.default_rng(seed)
    held: set[LabeledImage] = set()
    for members in by_class.values():
        rows = rng.permutation(len(members))[: round(share * len(members))]
        held.update(members[row] for row in rows)
    return held


def numbered_copies(images: DemoImages, folder: Path, *, seed: int = 0) -> list[Path]:
    """Copy the pool to `folder` under names that tell nothing, in mixed order; return the files.

    The number in a name is the image's place in `images.pool`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for place, image in enumerate(images.pool):
        file = folder / f"image-{place:06d}{image.file.suffix.lower()}"
        if not file.exists():
            shutil.copyfile(image.file, file)
        files.append(file)
    order = np.random.default_rng(seed).permutation(len(files))
    return [files[row] for row in order]


def pool_place(image_uri: str) -> int:
    """Read an image's place in the pool from its address in Label Studio, which adds a prefix."""
    return int(image_uri.rsplit("image-", 1)[1].split(".")[0])


def labeling_config(classes: tuple[str, ...]) -> str:
    """Ask for one choice among the classes. A class that is a digit has that digit's key."""
    choices = "".join(f"<Choice value={quoteattr(name)}{_hotkey(name)}/>" for name in classes)
    return (
        '<View><Image name="image" value="$image" maxWidth="400px"/>'
        f'<Choices name="choice" toName="image" choice="single" showInline="true">{choices}'
        "</Choices></View>"
    )


def _hotkey(name: str) -> str:
    return f' hotkey="{name}"' if name in set("0123456789") else ""
