"""Small pictures of tasks: made once from an image's bytes, then kept on disk by content.

Knows Pillow through `learning.images`, which decodes hostile bytes, and a folder. Does not know
where images come from, nor who asks. What it hands out was drawn anew from pixels: nothing of the
file that came in is left in it, neither metadata nor whatever hid behind the picture.
"""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_backend.errors import Busy
from ml_backend.learning.embeddings import content_hash
from ml_backend.learning.images import decode

SIDE_PX = 160  # of the longer side
QUALITY = 82
AT_ONCE = 3  # pictures that a process fetches at a time: webhooks need its other threads
PATIENCE_S = 0.5
LOOK_EVERY = 200  # new pictures between two looks at how much there is
_NAME = re.compile(r"[0-9a-f]{16,128}")


class Thumbnails:
    """A folder of thumbnails, of at most `max_bytes`. Threads and processes may share it."""

    def __init__(self, folder: Path, max_pixels: int, max_bytes: int = 200 * 2**20) -> None:
        self._folder = folder
        self._max_pixels = max_pixels
        self._max_bytes = max_bytes
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self._made = 0

    def of(self, known_hash: str | None, read: Callable[[], bytes]) -> bytes:
        """Return a JPEG of at most 160 x 160 pixels, made now where it is not there.

        `known_hash` is the image's content hash where the image was read before; otherwise `read`
        is asked. Raises ImageUnreadable, what `read` raises, and Busy where too much is being made.
        """
        kept = self._kept(known_hash) if known_hash else None
        if kept is not None:
            return kept
        with self._turn():
            data = read()
            digest = content_hash(data)
            return self._kept(digest) or self._make(data, digest)

    def prune(self) -> int:
        """Remove what was not looked at for longest, until a tenth is free; returns how many."""
        files = sorted(self._files())
        too_much = sum(size for _, size, _ in files) - self._max_bytes
        if too_much <= 0:
            return 0
        too_much += self._max_bytes // 10
        removed = 0
        for _, size, path in files:
            if too_much <= 0:
                break
            Path(path).unlink(missing_ok=True)
            too_much -= size
            removed += 1
        return removed

    def _kept(self, digest: str) -> bytes | None:
        path = self._path(digest)
        try:
            data = path.read_bytes()
            os.utime(path)  # looked at now: `prune` begins with the oldest
        except FileNotFoundError:
            return None
        return data

    def _make(self, data: bytes, digest: str) -> bytes:
        picture = decode(data, self._max_pixels, at_least_px=SIDE_PX)
        picture.thumbnail((SIDE_PX, SIDE_PX))
        drawn = io.BytesIO()
        picture.save(drawn, "JPEG", quality=QUALITY)
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        beside.write_bytes(drawn.getvalue())
        beside.replace(path)
        self._made += 1
        if self._made % LOOK_EVERY == 0:
            self.prune()
        return drawn.getvalue()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._free.acquire(timeout=PATIENCE_S):
            raise Busy("too many pictures are being fetched: ask again in a moment")
        try:
            yield
        finally:
            self._free.release()

    def _path(self, digest: str) -> Path:
        if not _NAME.fullmatch(digest):
            raise ValueError(f"{digest!r} is no content hash")
        return self._folder / digest[:2] / f"{digest}.jpg"

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield (last looked at, bytes, path) of every picture."""
        for path in self._folder.glob("*/*.jpg"):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue  # another process was quicker
            yield found.st_mtime, found.st_size, str(path)
