"""A table of images: a column of paths or addresses, and perhaps labels, splits and metadata.

Knows what the columns mean. How the text is written is `csv_text`'s; nothing is read of an image
before somebody asks for its bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources.csv_text import (
    DELIMITERS,
    checked_encoding,
    delimiter_of,
    encoding_of,
    named_delimiter,
    rows_of,
)
from ml_backend.sources.item import Problems, SourceItem, read_file
from ml_backend.sources.layout import is_image, is_text
from ml_backend.sources.opening import nearest
from ml_backend.sources.remote import read_address

IMAGE_NAMES = (
    *("image", "image_path", "imagepath", "path", "file", "filename", "file_name", "filepath"),
    *("file_path", "img", "url", "uri", "image_url", "image_uri", "src"),
)
LABEL_NAMES = ("label", "class", "category", "target", "class_name", "label_name")
SPLIT_NAMES = ("split", "subset", "partition", "fold")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
DRIVE = re.compile(r"[A-Za-z]:[\\/]")
LOOKED_AT = 1000  # rows, before a mistake about the whole table is named

Web = Callable[[str, int], bytes]


@dataclass(frozen=True, slots=True)
class Columns:
    """Where in a row things stand."""

    width: int
    image: int
    label: int | None
    split: int | None
    metadata: tuple[tuple[str, int], ...]


def open_csv(
    path: Path,
    root: Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    metadata_columns: list[str] | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    outside_root: bool = False,
    web: Web | None = None,
) -> CsvSource:
    """Open a table with a header row.

    Relative paths start at `root` (default: the table's own folder) and must not leave it unless
    `outside_root`. Columns that are not named are found by their usual names; `metadata_columns`
    default to all others. Raises ConfigurationError.
    """
    table = path.expanduser()
    if not table.is_file():
        raise ConfigurationError(f"path {str(path)!r}: there is no such file")
    try:
        text = checked_encoding(encoding) if encoding else encoding_of(table)
        separator = named_delimiter(delimiter) if delimiter else delimiter_of(table, text)
        rows = rows_of(table, text, separator)
        header = next(rows, (0, []))[1]
    except OSError as error:
        raise ConfigurationError(f"path {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeError:
        raise ConfigurationError(
            f"path {str(path)!r} cannot be read as {encoding}; leave encoding out"
        ) from None
    asked = (image_column, label_column, split_column, metadata_columns)
    columns = _columns([name.strip() for name in header], separator, *asked)
    base = (root or table.parent).expanduser()
    if not base.is_dir():
        raise ConfigurationError(f"root {str(root)!r}: there is no such folder")
    source = CsvSource(table, base.resolve(), columns, separator, text, outside_root, web)
    source.check(label_column)
    return source


def _columns(
    header: list[str],
    delimiter: str,
    image: str | None,
    label: str | None,
    split: str | None,
    metadata: list[str] | None,
) -> Columns:
    if not header:
        raise ConfigurationError("the table is empty, expected a header row such as path,label")
    other = next((each for each in DELIMITERS if each != delimiter and each in header[0]), None)
    if len(header) == 1 and other:
        raise ConfigurationError(
            f"the table has one column, {header[0]!r}; is its delimiter {other!r}?"
        )
    repeated = {name for name in header if header.count(name) > 1 and name}
    if repeated:
        raise ConfigurationError(f"the table has two columns named {min(repeated)!r}")
    at_image = _column(header, "image_column", image, IMAGE_NAMES)
    if at_image is None:
        raise ConfigurationError(_no_image_column(header))
    at_label = _column(header, "label_column", label, LABEL_NAMES)
    at_split = _column(header, "split_column", split, SPLIT_NAMES)
    used = {at_image, at_label, at_split}
    names = metadata if metadata is not None else [n for i, n in enumerate(header) if i not in used]
    places = [(name, _column(header, "metadata_columns", name, ())) for name in names if name]
    kept = tuple((name, place) for name, place in places if place is not None)
    return Columns(len(header), at_image, at_label, at_split, kept)


def _column(header: list[str], option: str, asked: str | None, usual: Sequence[str]) -> int | None:
    if asked is not None:
        if asked not in header:
            raise ConfigurationError(f"{option}: the table has no column {nearest(asked, header)}")
        return header.index(asked)
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in usual if name in lower), None)


def _no_image_column(header: list[str]) -> str:
    if any(is_image(cell) or ADDRESS.match(cell) for cell in header):
        return (
            f"the first row, {', '.join(header[:3])}, is no header: put one above it, "
            "such as path,label"
        )
    return (
        f"image_column: no column of the table is called like a path ({', '.join(IMAGE_NAMES[:6])}"
        f", ...); it has: {', '.join(header)}"
    )


class CsvSource:
    """The images that a table names, in its order, read row by row."""

    def __init__(
        self,
        table: Path,
        root: Path,
        columns: Columns,
        delimiter: str,
        encoding: str,
        outside_root: bool,
        web: Web | None,
    ) -> None:
        self.problems = Problems()
        self._table, self._root, self._columns = table, root, columns
        self._delimiter, self._encoding = delimiter, encoding
        self._outside_root, self._web = outside_root, web

    def items(self) -> Iterator[SourceItem]:
        """Stream the rows; one at a time is in memory."""
        self.problems.clear()
        rows = rows_of(self._table, self._encoding, self._delimiter)
        next(rows, None)  # the header
        for line, cells in rows:
            if len(cells) != self._columns.width:
                reason = f"{len(cells)} columns, expected {self._columns.width}"
                self.problems.note(f"line {line}", reason)
                continue
            item = self._item(line, cells)
            if item is not None:
                yield item

    def count(self) -> int | None:
        """Nobody knows before a whole pass."""
        return None

    def describe(self) -> str:
        """Say what was taken for what."""
        with_labels = "with labels" if self._columns.label is not None else "without labels"
        return (
            f"the table {self._table} ({self._encoding}, delimiter {self._delimiter!r}), "
            f"{with_labels}, paths from {self._root}"
        )

    def check(self, label_column: str | None) -> None:
        """Look at the first rows for what is wrong with all of them. Raises ConfigurationError."""
        first = list(islice(self.items(), LOOKED_AT))
        if not first:
            raise ConfigurationError(f"the table {self._table.name} names no image{self._why()}")
        if label_column and not any(item.label for item in first):
            raise ConfigurationError(
                f"label_column {label_column!r} is empty in the first {len(first)} rows"
            )
        files = [item.path for item in first if item.path is not None]
        if len(files) == len(first) and not any(_is_file(path) for path in files):
            raise ConfigurationError(
                f"none of the first {len(first)} rows names a file that exists, such as "
                f"{str(files[0])!r}: set root to the folder that the paths start at"
            )

    def _item(self, line: int, cells: list[str]) -> SourceItem | None:
        columns, value = self._columns, cells[self._columns.image].strip()
        label = cells[columns.label].strip() if columns.label is not None else ""
        split = cells[columns.split].strip() if columns.split is not None else ""
        metadata = {
            name: cells[place].replace("\0", "")  # which PostgreSQL refuses
            for name, place in columns.metadata
            if cells[place]
        }
        if not value or not is_text(f"{value}{label}{split}"):
            reason = "a cell with control characters" if value else "no path"
            self.problems.note(f"line {line}", reason)
            return None
        if value.lower().startswith("file:"):  # would go round the root
            self.problems.note(f"line {line}", f"{value[:60]!r}: write the plain path of a file")
            return None
        if ADDRESS.match(value):
            fetch = partial(self._read_address, value)
            return SourceItem(value, None, value, label or None, split or None, metadata, fetch)
        path = self._path(value)
        if isinstance(path, str):
            self.problems.note(f"line {line}", path)
            return None
        fetch = partial(self._read_file, path)
        return SourceItem(value, path, None, label or None, split or None, metadata, fetch)

    def _path(self, value: str) -> Path | str:
        """Return the file that a cell names, or what is wrong with it. Touches no file."""
        if os.name != "nt" and "\\" in value:
            if DRIVE.match(value):
                return (
                    f"{value!r} is a path of a Windows drive; make the paths relative, and set root"
                )
            value = value.replace("\\", "/")
        path = os.path.normpath(self._root / value)
        if not self._outside_root and not path.startswith(f"{str(self._root).rstrip('/')}/"):
            return f"{value!r} lies outside {self._root} (outside_root allows it)"
        return Path(path)

    def _read_file(self, path: Path, max_bytes: int) -> bytes:
        if not self._outside_root and not path.resolve().is_relative_to(self._root):
            raise ImageUnreadable(f"{path.name} is a link that leads out of {self._root}")
        return read_file(path, max_bytes)

    def _read_address(self, address: str, max_bytes: int) -> bytes:
        if address.lower().startswith(("http://", "https://")):
            if self._web is None:
                raise ImageUnreadable(f"{address[:60]!r}: web addresses are not read here")
            return self._web(address, max_bytes)
        return read_address(address, max_bytes)

    def _why(self) -> str:
        return "".join(f"; {where}: {reason}" for where, reason in self.problems.listed[:3])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
