"""The data sets that torchvision can read, by the name of their class.

Knows torchvision.datasets and loads it when a source is opened. Downloads nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources.classes import name_of
from ml_backend.sources.item import Problems, SourceItem, read_file
from ml_backend.sources.opening import nearest
from ml_backend.sources.pngs import png_of


def open_torchvision(
    name: str, root: Path | None = None, options: dict[str, Any] | None = None
) -> TorchvisionSource:
    """Open `torchvision.datasets.NAME(root, **options)`, a set of (picture, class number).

    `options` are the class's own, such as {"train": true} or {"split": "test"}. Some of its
    classes unpickle what is in `root` (CIFAR10, after checking its MD5): name only folders that
    you trust. Raises ConfigurationError.
    """
    import torchvision.datasets as sets

    known = sorted(
        each
        for each in sets.__all__
        if each != "VisionDataset"
        and isinstance(getattr(sets, each), type)
        and issubclass(getattr(sets, each), sets.VisionDataset)
    )
    if name not in known:
        raise ConfigurationError(f"name: torchvision has no data set {nearest(name, known)}")
    given = {**(options or {}), **({} if root is None else {"root": str(root.expanduser())})}
    try:
        data = getattr(sets, name)(**given)
        size = len(data)
    except Exception as error:  # each class has errors of its own
        raise ConfigurationError(
            f"torchvision's {name} cannot be read with {given}: {error}"
        ) from error
    if not size:
        raise ConfigurationError(f"torchvision's {name} in {root} is empty")
    return TorchvisionSource(name, data)


class TorchvisionSource:
    """The pictures of one of torchvision's data sets; those in memory become PNG files."""

    def __init__(self, name: str, data: Any) -> None:
        self.problems = Problems()
        self._name, self._data = name, data
        names = getattr(data, "classes", None)
        self._names = [_text(each) for each in names] if names else None
        self._targets = _targets(data)
        self._files = getattr(data, "samples", None)  # of folders: (path, class number)

    def items(self) -> Iterator[SourceItem]:
        """Stream the pictures. Classes are known without decoding where the set lists them."""
        self.problems.clear()
        split = str(getattr(self._data, "split", "")) or None
        for row in range(len(self._data)):
            if self._files is not None:
                path, target = self._files[row]
                label = name_of(target, self._names)
                key = str(Path(path).relative_to(self._data.root))
                file = Path(path)
                yield SourceItem(key, file, None, label, split, fetch=partial(read_file, file))
                continue
            label = name_of(self._target(row), self._names)
            yield SourceItem(str(row), label=label, split=split, fetch=partial(self._read, row))

    def count(self) -> int | None:
        """Return the number of pictures."""
        return len(self._data)

    def describe(self) -> str:
        """Say what was taken for what."""
        classes = f"{len(self._names)} classes" if self._names else "classes by number"
        return f"torchvision's {self._name}, {len(self._data):,} pictures, {classes}"

    def _target(self, row: int) -> Any:
        target = self._targets[row] if self._targets is not None else self._data[row][1]
        try:
            return target if isinstance(target, str) else int(target)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"torchvision's {self._name} has {target!r} for a class: only sets with one class "
                "a picture are read"
            ) from None

    def _read(self, row: int, _max_bytes: int) -> bytes:
        try:
            picture = self._data[row][0]
        except Exception as error:  # whatever the set's own decoder says
            raise ImageUnreadable(f"picture {row}: {type(error).__name__} {error}") from error
        return png_of(picture)


def _targets(data: Any) -> Any:
    for name in ("targets", "labels", "_labels"):
        found = getattr(data, name, None)
        if found is not None and len(found) == len(data):
            return found
    return None


def _text(name: object) -> str:
    return name if isinstance(name, str) else ", ".join(map(str, name))  # type: ignore[call-overload]
