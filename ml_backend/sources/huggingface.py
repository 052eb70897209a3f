"""Data sets in the formats of Hugging Face's `datasets`, from a folder on this machine.

Knows that library and loads it when a source is opened. Never asks the hub for anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources.classes import name_of
from ml_backend.sources.item import Problems, SourceItem, read_file, within
from ml_backend.sources.layout import is_image
from ml_backend.sources.opening import nearest


def open_huggingface(
    path: Path,
    split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> HuggingFaceSource:
    """Open a folder made by `save_to_disk`, one of Parquet files, or an image folder.

    `split` None takes all splits. Columns that are not named are found by their types: an Image,
    a ClassLabel. Raises ConfigurationError.
    """
    root = path.expanduser()
    if not root.is_dir():
        raise ConfigurationError(f"path {str(path)!r}: there is no such folder")
    splits = _load(root)
    if split is not None and split not in splits:
        raise ConfigurationError(f"split: the data set has no split {nearest(split, [*splits])}")
    chosen = {name: data for name, data in splits.items() if split in (None, name)}
    return HuggingFaceSource(root, chosen, image_column, label_column)


class HuggingFaceSource:
    """The rows of a data set, read from its memory-mapped files as they are asked for."""

    def __init__(
        self, root: Path, splits: dict[str, Any], image: str | None, label: str | None
    ) -> None:
        self.problems = Problems()
        self._root = root
        features = next(iter(splits.values())).features
        self._image = _column(features, "image_column", image, "Image", ("image", "img"))
        if self._image is None:
            raise ConfigurationError(
                f"image_column: the data set has no column of images; it has: {', '.join(features)}"
            )
        self._label = _column(features, "label_column", label, "ClassLabel", ("label",))
        self._names = getattr(features[self._label], "names", None) if self._label else None
        self._splits = {name: _undecoded(data, self._image) for name, data in splits.items()}

    def items(self) -> Iterator[SourceItem]:
        """Stream the rows. Pictures stay on disk until somebody asks for their bytes."""
        self.problems.clear()
        for split, data in self._splits.items():
            labels = data.select_columns([self._label]) if self._label else None
            for row in range(len(data)):
                label = name_of(labels[row][self._label], self._names) if labels else None
                fetch = partial(self._read, split, row)
                yield SourceItem(f"{split}/{row}", label=label, split=split, fetch=fetch)

    def count(self) -> int | None:
        """Return the number of rows."""
        return sum(len(data) for data in self._splits.values())

    def describe(self) -> str:
        """Say what was taken for what."""
        labels = f"labels from {self._label!r}" if self._label else "without labels"
        return (
            f"the Hugging Face data set in {self._root}, splits {', '.join(self._splits)}, images "
            f"from {self._image!r}, {labels}"
        )

    def _read(self, split: str, row: int, max_bytes: int) -> bytes:
        image = self._splits[split][row][self._image]
        if not isinstance(image, dict) or not (image.get("bytes") or image.get("path")):
            raise ImageUnreadable(f"row {row} of {split} has no image")
        if image.get("bytes"):
            return within(image["bytes"], max_bytes)
        file = Path(image["path"])
        if not (self._root / file).resolve().is_relative_to(self._root.resolve()):
            raise ImageUnreadable(f"{file.name} lies outside {self._root}")
        return read_file(self._root / file, max_bytes)


def _load(root: Path) -> dict[str, Any]:
    datasets = _library()
    try:
        if (root / "dataset_dict.json").exists() or (root / "state.json").exists():
            loaded = datasets.load_from_disk(str(root))
        elif any(root.rglob("*.parquet")):
            loaded = datasets.load_dataset("parquet", data_dir=str(root))
        elif any(is_image(file.name) for file in root.rglob("*")):
            loaded = datasets.load_dataset("imagefolder", data_dir=str(root))
        else:
            raise ConfigurationError(
                f"path {str(root)!r}: expected a folder made by save_to_disk, Parquet files, or "
                "image files; found none of them"
            )
    except ConfigurationError:
        raise
    except Exception as error:  # pyarrow's and the library's own are many
        raise ConfigurationError(
            f"path {str(root)!r} cannot be read as a data set: {type(error).__name__} {error}"
        ) from error
    splits = dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "all"): loaded}
    if not any(len(data) for data in splits.values()):
        raise ConfigurationError(f"path {str(root)!r}: the data set is empty")
    return splits


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise ConfigurationError(
            "data sets of Hugging Face need the library datasets: pip install "
            "'active-labeler[huggingface]'"
        ) from None
    return datasets


def _undecoded(data: Any, column: str) -> Any:
    datasets = _library()
    try:
        return data.cast_column(column, datasets.Image(decode=False))
    except Exception as error:  # pyarrow's own
        raise ConfigurationError(f"image_column {column!r} holds no images: {error}") from error


def _column(
    features: Any, option: str, asked: str | None, kind: str, usual: tuple[str, ...]
) -> str | None:
    if asked is not None:
        if asked not in features:
            known = nearest(asked, [*features])
            raise ConfigurationError(f"{option}: the data set has no column {known}")
        return asked
    typed = [name for name, feature in features.items() if type(feature).__name__ == kind]
    return next(iter([*typed, *(name for name in usual if name in features)]), None)
