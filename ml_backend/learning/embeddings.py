"""From image files to cached embeddings, many at a time.

Threads fetch, hash, decode and resize ahead of the network (all of which let go of Python's lock);
the caller's thread alone runs the network and writes the cache. What is ahead is bounded, so
memory does not grow with the number of images.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_backend.errors import ImageUnreadable
from ml_backend.learning.embedding_cache import EmbeddingCache
from ml_backend.learning.images import decode

__all__ = ["Batch", "EmbeddingCache", "Item", "content_hash", "embed_missing"]

# A batch: (task_id, SHA-256 of the image in hex), or (task_id, why it cannot be read).
Batch = list[tuple[int, "str | ImageUnreadable"]]
Item = tuple[int, Callable[[], bytes]]

# Results are handed out at least this often where the network has nothing to do, so that whoever
# waits for them can record them, show progress or stop.
_RESULTS_AT_MOST = 256


class Embedder(Protocol):
    """What is needed of a backbone. `Any` is one preprocessed picture."""

    @property
    def decode_at_least_px(self) -> int:
        """Sides of a decoded picture need not be longer."""

    def preprocess(self, image: Image.Image) -> Any:
        """Bring a picture to the network's input."""

    def embed(self, pictures: list[Any]) -> NDArray[np.float32]:
        """Embed preprocessed pictures: (B, D)."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One image, ready for the network. `picture` is None where the cache has it already."""

    content_hash: str
    picture: Any


def embed_missing(
    backbone: Embedder,
    cache: EmbeddingCache,
    items: Iterable[Item],
    *,
    workers: int,
    batch_size: int,
    max_pixels: int,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> Iterator[Batch]:
    """Embed what the cache has not; yield results in the order of `items`, batch by batch.

    An item is a task id and a call that fetches the file's bytes (in a thread). ImageUnreadable
    from it, or from decoding, becomes that task's result; any other error of a fetch is raised,
    after everything before it was yielded and cached. Whatever was yielded is on disk: stopping
    anywhere and starting again loses nothing. Equal bytes go through the network once.
    `on_progress` gets the number of tasks done so far.
    """

    def prepare(fetch: Callable[[], bytes]) -> _Prepared | ImageUnreadable:
        try:
            return _prepare(backbone, cache, fetch(), max_pixels)
        except ImageUnreadable as error:
            return error

    done = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        ahead = _ahead(pool, prepare, iter(items), 2 * batch_size + workers)
        for prepared in _batches(ahead, batch_size):
            yield (batch := _finish(backbone, cache, prepared))
            done += len(batch)
            on_progress(done)
    finally:
        pool.shutdown(cancel_futures=True)


def content_hash(data: bytes) -> str:
    """Name an image by its file's bytes."""
    return hashlib.sha256(data).hexdigest()


def _prepare(backbone: Embedder, cache: EmbeddingCache, data: bytes, max_pixels: int) -> _Prepared:
    name = content_hash(data)
    if cache.has(name):
        return _Prepared(name, None)
    image = decode(data, max_pixels, at_least_px=backbone.decode_at_least_px)
    return _Prepared(name, backbone.preprocess(image))


def _ahead(
    pool: ThreadPoolExecutor,
    prepare: Callable[[Callable[[], bytes]], _Prepared | ImageUnreadable],
    items: Iterator[Item],
    length: int,
) -> Iterator[tuple[int, _Prepared | ImageUnreadable]]:
    """Prepare items in threads, `length` of them ahead of the one that is yielded."""
    waiting: deque[tuple[int, Future[_Prepared | ImageUnreadable]]] = deque()

    def top_up() -> None:
        for task_id, fetch in islice(items, length - len(waiting)):
            waiting.append((task_id, pool.submit(prepare, fetch)))

    top_up()
    while waiting:
        task_id, future = waiting.popleft()
        prepared = future.result()
        top_up()
        yield task_id, prepared


def _batches(
    ahead: Iterator[tuple[int, _Prepared | ImageUnreadable]], batch_size: int
) -> Iterator[list[tuple[int, _Prepared | ImageUnreadable]]]:
    """Gather until the network has a full batch to do. An error comes after what was before it."""
    gathered: list[tuple[int, _Prepared | ImageUnreadable]] = []
    to_embed: set[str] = set()
    try:
        for task_id, prepared in ahead:
            gathered.append((task_id, prepared))
            if isinstance(prepared, _Prepared) and prepared.picture is not None:
                to_embed.add(prepared.content_hash)
            if len(to_embed) == batch_size or len(gathered) == _RESULTS_AT_MOST:
                yield gathered
                gathered, to_embed = [], set()
    except Exception:
        if gathered:
            yield gathered
        raise
    if gathered:
        yield gathered


def _finish(
    backbone: Embedder,
    cache: EmbeddingCache,
    prepared: list[tuple[int, _Prepared | ImageUnreadable]],
) -> Batch:
    """Embed and cache what is new, and say what became of each task."""
    pictures = {
        one.content_hash: one.picture
        for _, one in prepared
        if isinstance(one, _Prepared) and not cache.has(one.content_hash)
    }
    refused = _embed_into(cache, backbone, pictures)
    return [
        (task_id, one if isinstance(one, ImageUnreadable) else _outcome(one, refused))
        for task_id, one in prepared
    ]


def _embed_into(cache: EmbeddingCache, backbone: Embedder, pictures: dict[str, Any]) -> set[str]:
    """Append the pictures' embeddings; return the hashes of those without a finite one."""
    if not pictures:
        return set()
    hashes = np.array(list(pictures))
    vectors_BD = backbone.embed(list(pictures.values()))
    finite_B = np.isfinite(vectors_BD).all(axis=1)
    cache.append(hashes[finite_B].tolist(), vectors_BD[finite_B])
    return set(hashes[~finite_B].tolist())


def _outcome(one: _Prepared, refused: set[str]) -> str | ImageUnreadable:
    if one.content_hash in refused:
        return ImageUnreadable("The network gives no finite embedding for this image.")
    return one.content_hash
