"""Embeddings on disk, so that every picture goes through the network once.

Knows files, processes and crashes; the network stands behind `backbone_key`, and torch is not
needed here. Two files that only grow: the vectors, and the keys that make them valid. A vector is
written and synced before its key is, so a process killed at any byte leaves whole records and at
most a torn end, which the next writer cuts off. Readers never write; writers take a file lock for
the length of one append.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_backend.errors import CorruptFile

_HEADER = struct.Struct("<8s64sI")  # magic, backbone key, dim
_MAGIC = b"ALEMBED1"
_KEY = struct.Struct("<32sII")  # SHA-256 of the image, CRC-32 of its vector, CRC-32 of these 36


class EmbeddingCache:
    """Vectors of one backbone, found by the SHA-256 (hex) of the image file's bytes.

    May be shared between threads, and its folder between the processes of one machine. What
    another process appended is seen after `refresh`, which `append` calls.

    Raises CorruptFile for files of another backbone, another dimension or another program.
    """

    def __init__(self, folder: Path, backbone_key: str, dim: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.dim = dim
        self._vectors_file = folder / f"{backbone_key}.vectors"
        self._keys_file = folder / f"{backbone_key}.keys"
        self._lock_file = folder / f"{backbone_key}.lock"
        self._header = _HEADER.pack(_MAGIC, backbone_key.encode(), dim)
        self._mutex = threading.RLock()
        self._row_of: dict[bytes, int] = {}
        self._vectors_ND: NDArray[np.float32] = np.empty((0, dim), np.float32)
        self.refresh()

    def __len__(self) -> int:
        """Count the vectors."""
        return len(self._vectors_ND)

    def has(self, content_hash: str) -> bool:
        """Tell whether the image with these bytes has been embedded."""
        return bytes.fromhex(content_hash) in self._row_of

    def has_all(self, content_hashes: Sequence[str]) -> list[bool]:
        """Tell it for each of many."""
        return [self.has(content_hash) for content_hash in content_hashes]

    def rows(self, content_hashes: Sequence[str]) -> NDArray[np.float32]:
        """Read vectors in the order asked for: float32 (N, D). Raises KeyError for a missing."""
        with self._mutex:
            rows_N = [self._row_of[bytes.fromhex(name)] for name in content_hashes]
            return np.asarray(self._vectors_ND).take(np.array(rows_N, dtype=np.intp), axis=0)

    def append(self, content_hashes: Sequence[str], vectors_ND: NDArray[np.float32]) -> None:
        """Add vectors; once this returns they survive a crash. Known ones are left as they are.

        Raises ValueError for a shape that does not fit or values that are not finite, OSError
        where the disk is full; then nothing was added.
        """
        vectors_ND = np.ascontiguousarray(vectors_ND, dtype="<f4")
        expected = (len(content_hashes), self.dim)
        if vectors_ND.shape != expected:
            raise ValueError(f"vectors_ND has shape {vectors_ND.shape}, expected {expected}")
        if not np.isfinite(vectors_ND).all():
            raise ValueError("vectors_ND holds values that are not finite numbers")
        with self._mutex, self._sole_writer():
            self.refresh()
            new = {
                bytes.fromhex(name): vector.tobytes()
                for name, vector in zip(content_hashes, vectors_ND, strict=True)
                if not self.has(name)
            }
            self._extend(self._vectors_file, 4 * self.dim, list(new.values()))
            self._extend(self._keys_file, _KEY.size, [_key(*record) for record in new.items()])
            self.refresh()

    def refresh(self) -> None:
        """See what was appended by others."""
        with self._mutex:
            known = len(self)
            room = _body_length(self._vectors_file, self._header) // (4 * self.dim)
            _body_length(self._keys_file, self._header)
            contents = _read_keys(self._keys_file, known)[: max(0, room - known)]
            if not contents:
                return
            count = known + len(contents)
            self._vectors_ND = self._mapped(count)
            _check_vector(self._vectors_file, self._vectors_ND[-1], contents[-1][1])
            self._row_of.update(
                {content: row for row, (content, _) in enumerate(contents, start=known)}
            )

    def _mapped(self, count: int) -> NDArray[np.float32]:
        return np.memmap(
            self._vectors_file, "<f4", "r", offset=_HEADER.size, shape=(count, self.dim)
        )

    def _extend(self, path: Path, record_bytes: int, records: list[bytes]) -> None:
        """Write records behind the valid ones, over whatever a crash has left there, and sync."""
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.write(self._header)
            file.truncate(_HEADER.size + len(self) * record_bytes)
            file.seek(0, os.SEEK_END)
            file.write(b"".join(records))
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _sole_writer(self) -> Iterator[None]:
        with self._lock_file.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when closed, also by the kernel
            yield


def remove_cache(folder: Path, backbone_key: str) -> None:
    """Delete a backbone's vectors. Whoever has them open reads on until they close them."""
    for ending in ("keys", "vectors", "lock"):  # keys first: without them no vector is valid
        (folder / f"{backbone_key}.{ending}").unlink(missing_ok=True)


def _key(content: bytes, vector: bytes) -> bytes:
    checksum = zlib.crc32(vector)
    return _KEY.pack(content, checksum, _key_checksum(content, checksum))


def _key_checksum(content: bytes, vector_checksum: int) -> int:
    return zlib.crc32(content + vector_checksum.to_bytes(4, "little"))


def _read_keys(path: Path, first: int) -> list[tuple[bytes, int]]:
    """Read (content hash, vector checksum) from record `first` on, up to a torn one."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(_HEADER.size + first * _KEY.size)
        body = file.read()
    contents = []
    for content, checksum, own in _KEY.iter_unpack(body[: len(body) // _KEY.size * _KEY.size]):
        if own != _key_checksum(content, checksum):
            break
        contents.append((content, checksum))
    return contents


def _body_length(path: Path, header: bytes) -> int:
    """Count the bytes behind the header. Raises CorruptFile for a file that is not ours.

    A file that breaks off inside the header was left by a crash and counts as empty.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(_HEADER.size)
    except FileNotFoundError:
        return 0
    if not header.startswith(beginning):
        raise CorruptFile(f"{path}: not the embeddings that were expected, by its header")
    return max(0, path.stat().st_size - _HEADER.size)


def _check_vector(path: Path, vector_D: NDArray[np.float32], checksum: int) -> None:
    if zlib.crc32(vector_D.tobytes()) != checksum:
        raise CorruptFile(f"{path}: the newest vector is not the one that was written")
