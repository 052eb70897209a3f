"""Image sets that TensorFlow Datasets has prepared, read by its own reader without TensorFlow.

Knows tensorflow_datasets and loads it when a source is opened. Prepares and downloads nothing:
only what lies prepared as array_record or Parquet is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources.classes import name_of
from ml_backend.sources.item import Problems, SourceItem, within
from ml_backend.sources.opening import nearest
from ml_backend.sources.pngs import png_of


def open_tfds(
    name: str | None = None,
    data_dir: Path | None = None,
    path: Path | None = None,
    split: str | None = None,
    image_feature: str | None = None,
    label_feature: str | None = None,
) -> TfdsSource:
    """Open a prepared set: by `name` (such as "mnist") in `data_dir`, or by its version's `path`.

    `split` None takes all of them. Raises ConfigurationError.
    """
    if (name is None) == (path is None):
        raise ConfigurationError("tfds: say either name (and data_dir) or path")
    builder = _builder(name, data_dir, path)
    splits = list(builder.info.splits)
    if not splits:
        raise ConfigurationError(
            f"tfds: {name or path} is not prepared here; tfds.builder({name!r}, "
            'file_format="array_record").download_and_prepare() does it, once'
        )
    if split is not None and split not in splits:
        raise ConfigurationError(f"split: the data set has no split {nearest(split, splits)}")
    chosen = [split] if split else splits
    return TfdsSource(builder, chosen, image_feature, label_feature)


class TfdsSource:
    """The examples of a prepared set. Images come as the bytes that were stored."""

    def __init__(
        self, builder: Any, splits: list[str], image: str | None, label: str | None
    ) -> None:
        self.problems = Problems()
        self._title = builder.info.full_name
        features = builder.info.features
        found = _feature(features, "image_feature", image, "Image")
        if found is None:
            raise ConfigurationError(
                f"image_feature: {self._title} has no feature that is an image; "
                f"it has: {', '.join(features)}"
            )
        self._image = found
        self._label = _feature(features, "label_feature", label, "ClassLabel")
        self._names = getattr(features[self._label], "names", None) if self._label else None
        self._rows = {split: _reader(builder, split, found) for split in splits}

    def items(self) -> Iterator[SourceItem]:
        """Stream the examples in the order of the files."""
        self.problems.clear()
        for split, rows in self._rows.items():
            for row in range(len(rows)):
                label = name_of(rows[row][self._label], self._names) if self._label else None
                fetch = partial(self._read, split, row)
                yield SourceItem(f"{split}/{row}", label=label, split=split, fetch=fetch)

    def count(self) -> int | None:
        """Return the number of examples."""
        return sum(len(rows) for rows in self._rows.values())

    def describe(self) -> str:
        """Say what was taken for what."""
        labels = f"labels from {self._label!r}" if self._label else "without labels"
        return f"the prepared set {self._title}, splits {', '.join(self._rows)}, {labels}"

    def _read(self, split: str, row: int, max_bytes: int) -> bytes:
        try:
            image = self._rows[split][row][self._image]
        except Exception as error:  # a damaged file: the reader's own errors
            raise ImageUnreadable(f"{split}/{row}: {type(error).__name__} {error}") from error
        return within(image if isinstance(image, bytes) else png_of(image), max_bytes)


def _builder(name: str | None, data_dir: Path | None, path: Path | None) -> Any:
    library = _library()
    try:
        if path is not None:
            return library.builder_from_directory(str(path.expanduser()))
        folder = None if data_dir is None else str(data_dir.expanduser())
        return library.builder(name, data_dir=folder)
    except Exception as error:  # its errors are of many kinds, with long texts
        where = f" in {data_dir}" if data_dir else ""
        raise ConfigurationError(
            f"tfds: {name or path}{where} cannot be opened: {str(error)[:300]}"
        ) from error


def _library() -> Any:
    try:
        import tensorflow_datasets
    except ImportError:
        raise ConfigurationError(
            "sets of TensorFlow Datasets need its library: pip install 'active-labeler[tfds]'"
        ) from None
    return tensorflow_datasets


def _reader(builder: Any, split: str, image: str) -> Any:
    """Return the examples of a split, whose images stay the bytes that were stored."""
    decoders = {image: _library().decode.SkipDecoding()}
    try:
        return builder.as_data_source(split=split, decoders=decoders)
    except Exception as error:  # NotImplementedError, ModuleNotFoundError for TensorFlow, ...
        raise ConfigurationError(
            f"tfds: {builder.info.full_name} cannot be read without TensorFlow (it lies as "
            f"{builder.info.file_format}): prepare it with file_format='array_record'. "
            f"{str(error)[:200]}"
        ) from error


def _feature(features: Any, option: str, asked: str | None, kind: str) -> str | None:
    if asked is not None:
        if asked not in features:
            known = nearest(asked, [*features])
            raise ConfigurationError(f"{option}: the data set has no feature {known}")
        return asked
    return next((name for name in features if type(features[name]).__name__ == kind), None)
