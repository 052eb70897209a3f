"""What a data source hands out: one image at a time, with what is known of it.

Knows files and addresses as names. Knows no data format, no Label Studio and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ml_backend.errors import ImageUnreadable

MAX_BYTES = 50 * 2**20  # of one image file, where the caller names no limit
PROBLEMS_LISTED = 100


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One image of a source.

    `key` is its stable identity inside the source, such as a relative path. At least one of
    `path` (a file on this machine), `uri` (s3://..., https://...) and `fetch` is given. `label`
    None: not known. `fetch(max_bytes)` returns the bytes of the image's file, or raises
    ImageUnreadable.
    """

    key: str
    path: Path | None = None
    uri: str | None = None
    label: str | None = None
    split: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    fetch: Callable[[int], bytes] | None = field(default=None, repr=False, compare=False)

    def read_bytes(self, max_bytes: int = MAX_BYTES) -> bytes:
        """Return the bytes of the image's file. Threads may call it.

        Raises ImageUnreadable with a reason for people.
        """
        if self.fetch is not None:
            return self.fetch(max_bytes)
        if self.path is not None:
            return read_file(self.path, max_bytes)
        raise ImageUnreadable(f"{self.uri or self.key}: nothing here can read such an address")


class Problems:
    """Rows and files of a source that cannot be used: all counted, the first hundred listed."""

    def __init__(self) -> None:
        self.count = 0
        self.listed: list[tuple[str, str]] = []  # (where, reason for people)

    def note(self, where: str, reason: str) -> None:
        """Count a problem, and keep it where there is still room."""
        self.count += 1
        if len(self.listed) < PROBLEMS_LISTED:
            self.listed.append((where, reason))

    def clear(self) -> None:
        """Begin anew, as every pass over a source does."""
        self.count = 0
        self.listed.clear()


class Source(Protocol):
    """A set of images. It can be gone through again and again, in the same order each time."""

    @property
    def problems(self) -> Problems:
        """What the last pass could not use."""

    def items(self) -> Iterator[SourceItem]:
        """Stream the images: memory does not grow with their number."""

    def count(self) -> int | None:
        """Say how many images there are; None where only a whole pass could tell."""

    def describe(self) -> str:
        """Say in one sentence what it is and what was taken for what."""


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return a file's bytes. Raises ImageUnreadable where it is missing, no file, or too large."""
    try:
        if not path.is_file():  # a pipe or a device would never end
            raise ImageUnreadable(f"{path.name}: there is no such file")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise ImageUnreadable(f"{path.name}: {reason}") from None
    return within(content, max_bytes)


def within(content: bytes, max_bytes: int) -> bytes:
    """Return the bytes as they are. Raises ImageUnreadable where there are too many."""
    if len(content) > max_bytes:
        raise ImageUnreadable(f"the file is larger than {max_bytes:,} bytes")
    return content
