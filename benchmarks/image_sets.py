"""Labeled image sets as embeddings, for benchmarks: computed once, then read from a cache folder.

`digits` is scikit-learn's and needs no network (its 64 pixels are its embedding). Any other name is
a folder of class folders under the data folder, embedded by a pretrained backbone; of CIFAR-10 it
is a part, unpacked.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_backend.simulation.replay import LabeledSet

CIFAR10, CIFAR10_ARCHIVE = "cifar10", "cifar10_jpg.tar.xz"
CIFAR10_PER_CLASS = 300
BATCH = 32
MAX_PIXELS = 100_000_000


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet(LabeledSet):
    """One image set, embedded. `features` says by what."""

    name: str
    features: str


def load_digits_set() -> ImageSet:
    """Return scikit-learn's 1,797 digits with their raw pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    pixels_ND = (data / 16.0).astype(np.float32)
    return ImageSet(
        tuple("0123456789"), target.astype(np.int64), pixels_ND, "digits", "64 raw pixels"
    )


def unpack_cifar10(archive: Path, into: Path) -> Path:
    """Return a folder of class folders: the first 300 training images of each, 3,000 in all.

    The archive holds train/CLASS/NNNN.jpg. Unpacked once.
    """
    folder = into / f"{CIFAR10}-{10 * CIFAR10_PER_CLASS}"
    if folder.exists():
        return folder
    part = folder.with_suffix(".part")
    with tarfile.open(archive) as tar:
        for member in tar:
            names = Path(member.name).parts
            if len(names) == 3 and names[0] == "train" and int(names[2][:4]) < CIFAR10_PER_CLASS:
                tar.extract(member, part, filter="data")
    (part / "train").rename(folder)
    part.rmdir()
    return folder


def load_image_set(
    folder: Path, backbone_name: str, weights: str, cache: Path, progress: Callable[[str], None]
) -> ImageSet:
    """Return a folder of class folders, embedded. Unreadable images raise: a benchmark has none."""
    from ml_backend.learning.backbones import load_backbone

    backbone = load_backbone(backbone_name, weights, "auto", seed=0)
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in {".jpg", ".png"})
    names_N = [path.parent.name for path in files]
    classes = tuple(sorted(set(names_N)))
    labels_N = np.array([classes.index(name) for name in names_N], dtype=np.int64)
    cached = cache / f"{folder.name}-{backbone_name}-{backbone.key}.npy"
    if not cached.exists():
        embeddings_ND = _embed(backbone, files, lambda text: progress(f"{folder.name}: {text}"))
        cache.mkdir(parents=True, exist_ok=True)
        part = cached.with_suffix(".part.npy")
        np.save(part, embeddings_ND)
        part.replace(cached)
    return ImageSet(classes, labels_N, np.load(cached), folder.name, backbone_name)


def _embed(
    backbone: object, files: list[Path], progress: Callable[[str], None]
) -> NDArray[np.float32]:
    from ml_backend.learning.backbones import Backbone
    from ml_backend.learning.images import decode

    assert isinstance(backbone, Backbone)
    blocks = []
    for start in range(0, len(files), BATCH):
        pictures = [
            backbone.preprocess(
                decode(path.read_bytes(), MAX_PIXELS, at_least_px=backbone.decode_at_least_px)
            )
            for path in files[start : start + BATCH]
        ]
        blocks.append(backbone.embed(pictures))
        if start // BATCH % 20 == 0:
            progress(f"embedded {start} of {len(files)}")
    return np.concatenate(blocks)
