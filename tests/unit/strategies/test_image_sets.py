"""The part of CIFAR-10 that is unpacked: the same images for everybody."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from benchmarks.image_sets import unpack_cifar10


def test_only_the_first_training_images_of_each_class_are_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "all.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        for name in ("train/cat/0000.jpg", "train/cat/0300.jpg", "test/cat/0000.jpg"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    folder = unpack_cifar10(archive, tmp_path / "cache")
    assert [str(file.relative_to(folder)) for file in folder.rglob("*.jpg")] == ["cat/0000.jpg"]
    archive.unlink()
    assert unpack_cifar10(archive, tmp_path / "cache") == folder  # unpacked once
