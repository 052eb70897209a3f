"""How a table in a text file is written: its encoding, its delimiter, its header.

Knows text files as spreadsheets and scripts write them. Does not know what the columns mean.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

from ml_backend.errors import ConfigurationError

DELIMITERS = (",", ";", "\t", "|")
NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
SAMPLE_ROWS = 20
LONGEST_FIELD = 1_000_000  # characters; csv's own limit is shorter than some columns of metadata
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BINARY = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP file; save the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the table as CSV"),
    (b"PAR1", "a Parquet file; the kind huggingface reads those"),
)
CHUNK = 1 << 20


def encoding_of(path: Path) -> str:
    """Find how a file is encoded: by its mark, else UTF-8 where all of it is, else Windows's.

    Raises ConfigurationError where it is no text.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    for magic, what in BINARY:
        if head.startswith(magic):
            raise ConfigurationError(f"{path.name} is {what}")
    for mark, encoding in BOMS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        raise ConfigurationError(
            f"{path.name} has zero bytes in it: no text, or UTF-16 without its mark "
            "(then say encoding: utf-16-le)"
        )
    return next(each for each in ("utf-8", "cp1252", "latin-1") if _decodes(path, each))


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def delimiter_of(path: Path, encoding: str) -> str:
    """Find what separates the columns: what splits the first rows most often alike."""
    with path.open(encoding=encoding, newline="") as file:
        lines = [line for line in (file.readline(CHUNK) for _ in range(SAMPLE_ROWS)) if line]
    best, columns = ",", 1
    for delimiter in DELIMITERS:
        widths = _widths(lines, delimiter)
        if widths and widths[0] > columns and widths.count(widths[0]) * 2 > len(widths):
            best, columns = delimiter, widths[0]
    return best


def _widths(lines: list[str], delimiter: str) -> list[int]:
    widths: list[int] = []
    with contextlib.suppress(csv.Error):  # `rows_of` says what is wrong, and where
        widths += [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
    return widths


def rows_of(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Stream (line number, cells), the header first. Empty lines are left out.

    Raises ConfigurationError where the file stops being a table.
    """
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if any(cells):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise ConfigurationError(
                f"{path.name}, line {reader.line_num}: {error}; is a quote left open?"
            ) from None
        except UnicodeError as error:
            raise ConfigurationError(
                f"{path.name}, after line {reader.line_num}: not {encoding} ({error}); leave "
                "encoding out, or name another such as cp1252"
            ) from None


def named_delimiter(text: str) -> str:
    """Return the delimiter that a person named. Raises ConfigurationError."""
    delimiter = NAMES.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigurationError(
            f"delimiter {text!r}: expected one character, or tab, comma, semicolon, pipe"
        )
    return delimiter


def checked_encoding(text: str) -> str:
    """Return the encoding that a person named. Raises ConfigurationError."""
    try:
        return codecs.lookup(text).name
    except LookupError:
        raise ConfigurationError(
            f"encoding {text!r}: not known; common are utf-8, utf-16, cp1252 and latin-1"
        ) from None
