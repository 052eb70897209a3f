"""Small image files of known content."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from ml_backend.sources import Source, SourceItem


def png(number: int = 0) -> bytes:
    """A 4 x 4 image whose bytes differ by number."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 256, number // 256 % 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def write_images(root: Path, *names: str) -> Path:
    """Write one image a name, each of other content."""
    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(number))
    return root


def found(source: Source) -> list[tuple[str, str | None]]:
    """Return (key, label) of all items, in order."""
    return [(item.key, item.label) for item in source.items()]


def by_key(source: Source) -> dict[str, SourceItem]:
    return {item.key: item for item in source.items()}
