"""Sets that TensorFlow Datasets prepared, read without TensorFlow."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from ml_backend.errors import ConfigurationError
from ml_backend.sources import open_source

from .pictures import by_key, found, png

pytest.importorskip("array_record", reason="the optional library array-record is not installed")
tfds = pytest.importorskip(
    "tensorflow_datasets", reason="the optional library tensorflow-datasets is not installed"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # of its own dependencies


class Pets(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc]
    """Four images in two splits."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> Any:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(4, 4, 3)),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, _manager: Any) -> Any:
        return {"train": self._generate_examples(0, 3), "test": self._generate_examples(3, 4)}

    def _generate_examples(self, first: int, end: int) -> Any:
        for number in range(first, end):
            yield number, {"image": io.BytesIO(png(number)), "label": number % 2}


def prepare(folder: Path) -> Path:
    """Prepare the set; return its version's folder."""
    builder = Pets(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()
    return Path(str(builder.data_dir))


def open_tfds(**options: Any) -> Any:
    return open_source({"kind": "tfds", **options})


def test_a_prepared_set_gives_the_stored_bytes_and_class_names(tmp_path: Path) -> None:
    source = open_tfds(path=prepare(tmp_path))

    assert sorted(found(source)) == sorted(found(source))
    assert source.count() == 4
    items = by_key(source)
    assert {item.read_bytes(): item.label for item in items.values()} == {
        png(0): "cat",
        png(1): "dog",
        png(2): "cat",
        png(3): "dog",
    }
    assert items["test/0"].split == "test"
    assert "tensorflow" not in sys.modules
    assert open_tfds(path=prepare(tmp_path), split="test").count() == 1


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    path = prepare(tmp_path)
    with pytest.raises(ConfigurationError, match="did you mean 'train'"):
        open_tfds(path=path, split="trian")
    with pytest.raises(ConfigurationError, match="did you mean 'image'"):
        open_tfds(path=path, image_feature="img")
    with pytest.raises(ConfigurationError, match="not prepared here"):
        open_tfds(name="mnist", data_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        open_tfds(path=tmp_path / "gone")
    with pytest.raises(ConfigurationError, match="either name"):
        open_tfds()
