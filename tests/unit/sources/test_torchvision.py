"""torchvision's own data sets: those of files, and those of arrays."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources import open_source
from ml_backend.sources.pngs import png_of

from .pictures import by_key, found, png, write_images


def open_torchvision(name: str, **options: Any) -> Any:
    return open_source({"kind": "torchvision", "name": name, **options})


def idx_file(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write an array as MNIST's files are."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())
    with gzip.open(f"{path}.gz", "wb") as packed:
        packed.write(path.read_bytes())


def test_a_set_of_files_keeps_its_files(tmp_path: Path) -> None:
    source = open_torchvision("ImageFolder", root=write_images(tmp_path, "cat/1.png", "dog/2.png"))

    assert found(source) == [("cat/1.png", "cat"), ("dog/2.png", "dog")]
    assert by_key(source)["dog/2.png"].path == tmp_path / "dog" / "2.png"
    assert by_key(source)["dog/2.png"].read_bytes() == png(1)
    assert source.count() == 2


def test_a_set_of_arrays_becomes_png_files_with_its_class_names(tmp_path: Path) -> None:
    pictures = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 251
    for half in ("train", "t10k"):
        idx_file(tmp_path / f"MNIST/raw/{half}-images-idx3-ubyte", pictures)
        idx_file(tmp_path / f"MNIST/raw/{half}-labels-idx1-ubyte", np.array([2, 0, 9]))

    source = open_torchvision("MNIST", root=tmp_path, options={"train": False})

    assert found(source) == [("0", "2 - two"), ("1", "0 - zero"), ("2", "9 - nine")]
    decoded = Image.open(io.BytesIO(by_key(source)["1"].read_bytes()))
    assert np.array_equal(np.asarray(decoded), pictures[1])
    assert "3 pictures" in source.describe()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("CIFAR", {}, r"did you mean 'CIFAR10"),
        ("CIFAR10", {"root": "/nowhere"}, "CIFAR10 cannot be read.*not found"),
        ("MNIST", {"root": "/nowhere", "options": {"trian": 1}}, "trian"),
        ("VisionDataset", {}, "there are"),
    ],
)
def test_a_set_that_cannot_be_read_says_why(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_torchvision(name, **options)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.arange(12, dtype=np.uint8).reshape(3, 4, 1),
        np.arange(36, dtype=np.uint8).reshape(3, 4, 3),
        np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
    ],
)
def test_arrays_come_back_from_png_as_they_were(array: Any) -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_of(array)))), array.squeeze())


def test_numbers_in_0_to_1_are_scaled_to_bytes() -> None:
    decoded = Image.open(io.BytesIO(png_of(np.array([[0.0, 1.0], [0.5, 0.2]]))))

    assert np.asarray(decoded).tolist() == [[0, 255], [128, 51]]


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2, 5), np.uint8), np.zeros(3, np.uint8), np.full((2, 2), 7.5)]
)
def test_arrays_that_are_no_picture_are_refused_by_shape(array: Any) -> None:
    with pytest.raises(ImageUnreadable, match="is no picture"):
        png_of(array)
