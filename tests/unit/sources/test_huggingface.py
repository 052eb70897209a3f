"""Data sets of Hugging Face in a folder: saved ones, Parquet, image folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources import open_source

from .pictures import by_key, found, png, write_images

datasets = pytest.importorskip("datasets", reason="the optional library datasets is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a test is left in the user's cache, nor asked of the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def saved(rows: int = 4) -> Any:
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "species": datasets.ClassLabel(names=["cat", "dog"]),
            "note": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_dict(
        {
            "photo": [{"bytes": png(row), "path": None} for row in range(rows)],
            "species": [row % 2 for row in range(rows)],
            "note": ["x"] * rows,
        },
        features=features,
    )


def open_huggingface(path: Path, **options: Any) -> Any:
    return open_source({"kind": "huggingface", "path": path, **options})


def test_a_saved_set_is_read_by_the_types_of_its_columns(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": saved(3), "test": saved(1)}).save_to_disk(str(tmp_path / "d"))

    source = open_huggingface(tmp_path / "d")

    assert found(source) == [
        ("train/0", "cat"),
        ("train/1", "dog"),
        ("train/2", "cat"),
        ("test/0", "cat"),
    ]
    assert by_key(source)["train/2"].read_bytes() == png(2)
    assert by_key(source)["test/0"].split == "test"
    assert source.count() == 4
    assert [key for key, _ in found(open_huggingface(tmp_path / "d", split="test"))] == ["test/0"]


def test_parquet_files_are_read(tmp_path: Path) -> None:
    saved().to_parquet(str(tmp_path / "train.parquet"))

    source = open_huggingface(tmp_path)

    assert found(source)[1] == ("train/1", "dog")
    assert by_key(source)["train/1"].read_bytes() == png(1)


def test_an_image_folder_is_read(tmp_path: Path) -> None:
    write_images(tmp_path, "train/cat/1.png", "train/dog/2.png")

    source = open_huggingface(tmp_path)

    assert [label for _, label in found(source)] == ["cat", "dog"]
    assert by_key(source)["train/1"].read_bytes() == png(1)


def test_a_row_without_an_image_is_unreadable(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": [None, {"bytes": png()}]}, features=features)
    rows.save_to_disk(str(tmp_path / "d"))

    first, second = open_huggingface(tmp_path / "d").items()

    with pytest.raises(ImageUnreadable, match="row 0"):
        first.read_bytes()
    assert second.read_bytes() == png()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "trian"}, r"did you mean 'train'"),
        ({"image_column": "foto"}, r"did you mean 'photo'"),
        ({"label_column": "specie"}, r"did you mean 'species'"),
        ({"image_column": "species"}, "holds no images"),
    ],
)
def test_columns_and_splits_that_are_not_there_are_named(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    datasets.DatasetDict({"train": saved()}).save_to_disk(str(tmp_path / "d"))

    with pytest.raises(ConfigurationError, match=says):
        open_huggingface(tmp_path / "d", **options)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigurationError, match="expected a folder made by save_to_disk"):
        open_huggingface(tmp_path)
    with pytest.raises(ConfigurationError, match="no such folder"):
        open_huggingface(tmp_path / "gone")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ConfigurationError, match="cannot be read as a data set"):
        open_huggingface(tmp_path)
