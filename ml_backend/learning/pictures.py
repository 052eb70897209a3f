"""The pictures of a training set on disk, small and ready to be read again every epoch.

Knows image files and one memory-mapped array: uint8 (N, S, S, 3), where S is the length that the
backbone's preprocessing brings the shorter side to. The centre crop of what lies here is what the
backbone would be given, and around it there is room for augmentation. Knows neither labels nor
where the files' bytes come from.

A folder that was not finished is gone on with; one of other pictures is begun anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.errors import CorruptFile, ImageUnreadable
from ml_backend.learning.backbones import Backbone
from ml_backend.learning.embeddings import content_hash
from ml_backend.learning.images import decode

Item = tuple[str, Callable[[], bytes]]
_Result = tuple[int, "NDArray[np.uint8] | ImageUnreadable"]

_FORMAT = 1
_PIXELS, _PLAN, _JOURNAL = "pictures.u8", "plan.json", "journal.jsonl"
_ROWS_A_SYNC = 256  # what a kill can cost


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pictures that could be read, in the order given. `hashes[i]` is the content of row i."""

    folder: Path
    side_px: int
    hashes: tuple[str, ...]
    left_out: dict[str, str]  # content hash -> why, in words for people
    _stored_rows_N: NDArray[np.int64]
    _pixels_MSS3: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.hashes)

    def rows(self, rows_B: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy some rows into memory: (B, S, S, 3)."""
        return self._pixels_MSS3[self._stored_rows_N[rows_B]]

    def take(self, rows_K: NDArray[np.int64]) -> Pictures:
        """Return some of the pictures, in this order, without copying any."""
        hashes = tuple(self.hashes[row] for row in rows_K.tolist())
        return replace(self, hashes=hashes, _stored_rows_N=self._stored_rows_N[rows_K])

    @classmethod
    def prepare(
        cls,
        folder: Path,
        backbone: Backbone,
        items: Iterable[Item],
        max_pixels: int,
        workers: int,
        on_progress: Callable[[int], None] = lambda _done: None,
    ) -> Pictures:
        """Fetch, check, decode and resize what is not there yet; return what could be read.

        An item is a content hash (SHA-256 of the file, hex) and a call that fetches the bytes, in
        a thread. A picture that cannot be read, or is not the one that was labeled any more, is
        left out with the reason; any other error of a fetch is raised, and nothing done is lost.
        `on_progress` gets the number of items done so far.
        """
        items = list(items)
        plan = _Plan.of(backbone, items)
        done = _begin(folder, plan)
        with (folder / _JOURNAL).open("a") as journal:
            for block in _blocks(_work(backbone, items, done, max_pixels, workers)):
                _record(folder, plan, journal, block, done)
                on_progress(len(done))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Pictures:
        """Open what `prepare` finished. Raises CorruptFile."""
        try:
            plan = _Plan(**json.loads((folder / _PLAN).read_text("utf-8")))
            done = _read_journal(folder)
            pixels = _pixels(folder, plan)
        except (OSError, ValueError, TypeError) as error:
            raise CorruptFile(f"{folder}: {type(error).__name__}: {error}") from error
        if len(done) < len(plan.hashes):
            raise CorruptFile(f"{folder}: {len(done)} of {len(plan.hashes)} pictures are there")
        kept = [row for row in range(len(plan.hashes)) if done[row] is None]
        left_out = {plan.hashes[row]: why for row, why in done.items() if why is not None}
        hashes = tuple(plan.hashes[row] for row in kept)
        return cls(folder, plan.side_px, hashes, left_out, np.array(kept, np.int64), pixels)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a folder is to hold."""

    format: int
    preprocessing: str
    side_px: int
    hashes: tuple[str, ...] | list[str]

    @classmethod
    def of(cls, backbone: Backbone, items: Sequence[Item]) -> _Plan:
        preprocessing = backbone.preprocessing
        side_px = max(preprocessing.resize_px, preprocessing.crop_px)
        return cls(_FORMAT, repr(preprocessing), side_px, [name for name, _ in items])

    def text(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def _begin(folder: Path, plan: _Plan) -> dict[int, str | None]:
    """Make the folder this plan's; return the rows that are done, with reasons for left-out ones.

    The plan is written last: a folder without one is nobody's.
    """
    try:
        same = (folder / _PLAN).read_text("utf-8") == plan.text()
        if same and len(_pixels(folder, plan)) == len(plan.hashes):
            return _read_journal(folder)
    except (OSError, ValueError):
        pass  # nothing there, or nothing that can be gone on with
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (folder / _PIXELS).open("wb") as file:
        file.truncate(len(plan.hashes) * plan.side_px**2 * 3)
    part = folder / f"{_PLAN}.part"
    part.write_text(plan.text(), "utf-8")
    part.replace(folder / _PLAN)
    return {}


def _work(
    backbone: Backbone,
    items: Sequence[Item],
    done: dict[int, str | None],
    max_pixels: int,
    workers: int,
) -> Iterator[_Result]:
    """Prepare what is not done in threads, a little ahead of the one that is yielded."""
    square = replace(backbone.preprocessing, crop_px=_Plan.of(backbone, ()).side_px)

    def prepare(item: Item) -> NDArray[np.uint8] | ImageUnreadable:
        try:
            data = item[1]()
            if content_hash(data) != item[0]:
                return ImageUnreadable("The file is not the one that was labeled any more.")
            image = decode(data, max_pixels, at_least_px=backbone.decode_at_least_px)
        except ImageUnreadable as error:
            return error
        return np.ascontiguousarray(square.apply(image).permute(1, 2, 0).numpy())

    missing = iter([row for row in range(len(items)) if row not in done])
    waiting: deque[tuple[int, Future[Any]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
    try:
        while True:
            for row in islice(missing, 4 * workers - len(waiting)):
                waiting.append((row, pool.submit(prepare, items[row])))
            if not waiting:
                return
            row, future = waiting.popleft()
            yield row, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _blocks(results: Iterator[_Result]) -> Iterator[list[_Result]]:
    """Gather what is written together. An error comes after what was before it."""
    gathered: list[_Result] = []
    try:
        for result in results:
            gathered.append(result)
            if len(gathered) == _ROWS_A_SYNC:
                yield gathered
                gathered = []
    except Exception:
        if gathered:
            yield gathered
        raise
    if gathered:
        yield gathered


def _record(
    folder: Path,
    plan: _Plan,
    journal: Any,
    block: Sequence[_Result],
    done: dict[int, str | None],
) -> None:
    """Write a block's pixels, then, once they are on disk, its lines in the journal."""
    lines = []
    with (folder / _PIXELS).open("r+b") as file:
        for row, result in block:
            done[row] = str(result) if isinstance(result, ImageUnreadable) else None
            lines.append(json.dumps([row, done[row]]) + "\n")
            if isinstance(result, np.ndarray):
                file.seek(row * plan.side_px**2 * 3)
                file.write(result.tobytes())
        file.flush()
        os.fsync(file.fileno())
    journal.writelines(lines)
    journal.flush()
    os.fsync(journal.fileno())


def _read_journal(folder: Path) -> dict[int, str | None]:
    """Read rows and reasons. What a kill cut off is dropped, also from the file."""
    path = folder / _JOURNAL
    if not path.exists():
        return {}
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, "utf-8")
    return {row: why for row, why in map(json.loads, whole.splitlines())}


def _pixels(folder: Path, plan: _Plan) -> NDArray[np.uint8]:
    shape = (len(plan.hashes), plan.side_px, plan.side_px, 3)
    if not len(plan.hashes):
        return np.zeros(shape, np.uint8)
    size = (folder / _PIXELS).stat().st_size
    if size != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{_PIXELS} has {size} bytes, expected {shape}")
    return np.memmap(folder / _PIXELS, np.uint8, "r", shape=shape)


def fingerprint(pictures: Pictures) -> str:
    """Name the pictures' contents and size."""
    return sha256(f"{pictures.side_px} {pictures.hashes}".encode()).hexdigest()
