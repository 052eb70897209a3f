"""Labeled images on a disk: a folder of class folders, or a CSV file with paths and labels.

Knows paths and columns. Opens no image: a file's bytes are read when somebody asks for them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ml_backend.errors import ConfigurationError, ImageUnreadable

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".ppm"}


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One image with its label ("": none). `read` raises ImageUnreadable.

    `key` names it to people; `content_hash` where the SHA-256 (hex) of its bytes is known already.
    """

    key: str
    label: str
    read: Callable[[], bytes]
    content_hash: str | None = None


def from_folder(folder: Path, max_bytes: int) -> list[LabeledImage]:
    """List a folder's images, in the order of their paths; the label is the first folder's name.

    Images that lie in no class folder have no label. Raises ConfigurationError where there is none.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such folder")
    found = [
        LabeledImage(str(inside), _class_of(inside), partial(read_file, file, max_bytes))
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES and file.is_file()
        for inside in [file.relative_to(folder)]
        if not any(name.startswith(".") for name in inside.parts)
    ]
    if not found:
        raise ConfigurationError(
            f"{folder}: holds no image; expected one subfolder a class, with "
            f"{', '.join(sorted(SUFFIXES))} files in them"
        )
    return found


def from_csv(file: Path, path_column: str, label_column: str, max_bytes: int) -> list[LabeledImage]:
    """List the rows of a CSV file with a header; paths are relative to the file.

    Raises ConfigurationError for a file, an encoding or columns that cannot be used.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(_rows(file, lines, path_column, label_column))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{file}: not CSV in UTF-8: {error}") from error
    if not rows:
        raise ConfigurationError(f"{file}: no row has a path in the column {path_column!r}")
    return [
        LabeledImage(path, label, partial(read_file, file.parent / path, max_bytes))
        for path, label in rows
    ]


def read_file(file: Path, max_bytes: int) -> bytes:
    """Read a file's bytes. Raises ImageUnreadable with the reason."""
    try:
        with file.open("rb") as opened:
            data = opened.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageUnreadable(f"The file cannot be read: {reason}.") from error
    if len(data) > max_bytes:
        raise ImageUnreadable(f"The file has more than {max_bytes:,} bytes.")
    return data


def _class_of(relative: Path) -> str:
    return relative.parts[0] if len(relative.parts) > 1 else ""


def _rows(
    file: Path, lines: Iterator[str], path_column: str, label_column: str
) -> Iterator[tuple[str, str]]:
    reader = csv.DictReader(lines)
    columns = list(reader.fieldnames or ())
    for column in (path_column, label_column):
        if column not in columns:
            raise ConfigurationError(
                f"{file}: has no column {column!r}; there is: {', '.join(columns) or 'nothing'}"
            )
    for row in reader:
        if path := (row[path_column] or "").strip():
            yield path, (row[label_column] or "").strip()
