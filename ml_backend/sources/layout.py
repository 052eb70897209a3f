"""What the folders of a set of image files mean: classes, splits, or nothing.

Knows names of folders and files. Opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ml_backend.errors import ConfigurationError

Labels = Literal["auto", "folders", "none"]

# The formats that are decoded later, under the names that they are given.
IMAGE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in ("png", "jpg", "jpeg", "jpe", "jfif", "gif", "bmp", "tif", "tiff", "webp", "avif")
) | {".ppm", ".pgm", ".pbm", ".pnm"}
NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
SPLITS = frozenset(("train", "training", "val", "valid", "validation", "dev", "test", "testing"))


@dataclass(frozen=True, slots=True)
class Layout:
    """How deep in the tree classes and splits are; None: nowhere."""

    class_depth: int | None = None
    split_depth: int | None = None
    reason: str = ""

    def place(self, parts: Sequence[str]) -> tuple[str | None, str | None]:
        """Return (label, split) of a file by the parts of its path below the root."""
        folders = parts[:-1]
        return _at(folders, self.class_depth), _at(folders, self.split_depth)

    def describe(self) -> str:
        """Say what was taken for what."""
        return self.reason


def is_image(name: str) -> bool:
    """Tell image files by their names; hidden ones are none."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    return not name.startswith(".") and suffix in IMAGE_SUFFIXES


def is_text(name: str) -> bool:
    """Tell whether a name can be written down: no control character, no byte that is no text."""
    return NO_TEXT.search(name) is None


def layout_of(top: Mapping[str, Sequence[str]], images_at_root: bool, labels: Labels) -> Layout:
    """Decide by the folders that have images somewhere below them.

    `top` maps each folder of the first level to its own folders. Raises ConfigurationError where
    `labels` asks for class folders and there are none.
    """
    if top and not images_at_root and all(name.lower() in SPLITS for name in top):
        classes = {name for inner in top.values() for name in inner}
        if labels == "none" or not classes:
            return Layout(None, 0, f"the splits {_some(top)}, without labels")
        return Layout(1, 0, f"the splits {_some(top)} with the classes {_some(classes)}")
    if labels == "none" or (labels == "auto" and len(top) < 2):
        return Layout(reason="without labels" + _why_not(top, labels))
    if not top:
        raise ConfigurationError(
            "labels: folders asks for one subfolder a class, and no subfolder has an image; "
            "write labels: none where the images have no labels yet"
        )
    loose = "; images beside those folders have no label" if images_at_root else ""
    return Layout(0, None, f"the classes {_some(top)}, by subfolder{loose}")


def _why_not(top: Mapping[str, Sequence[str]], labels: Labels) -> str:
    if labels == "auto" and len(top) == 1:
        return f" ({next(iter(top))!r} is its only subfolder; labels: folders makes it a class)"
    return ""


def _at(folders: Sequence[str], depth: int | None) -> str | None:
    return folders[depth] if depth is not None and depth < len(folders) else None


def _some(names: Mapping[str, object] | set[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return ", ".join(repr(name) for name in ordered[:5]) + more
