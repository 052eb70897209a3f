"""From image files to cached vectors: each picture once, none lost, none in the way."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ml_backend.errors import ImageUnreadable, LabelStudioUnreachable
from ml_backend.learning.embeddings import Batch, EmbeddingCache, Item, content_hash, embed_missing
from tests.unit.learning.pictures import file_bytes, noise


class MeanColour:
    """A backbone whose embedding is the picture's mean colour. Counts what it was given."""

    decode_at_least_px = 8

    def __init__(self) -> None:
        self.batches: list[int] = []

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(image)

    def embed(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append(len(pictures))
        return np.array([picture.mean(axis=(0, 1)) for picture in pictures], np.float32)


class NothingFinite(MeanColour):
    """A backbone that has gone wrong."""

    def embed(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.full((len(pictures), 3), np.nan, np.float32)


def image_file(number: int) -> bytes:
    """Make a picture of one colour that tells its number."""
    return file_bytes(Image.new("RGB", (8, 8), (number % 256, number // 256, 7)))


def item(task_id: int, data: bytes) -> Item:
    return task_id, lambda: data


def run(
    backbone: MeanColour, cache: EmbeddingCache, items: list[Item], batch_size: int = 4
) -> Iterator[Batch]:
    return embed_missing(
        backbone, cache, items, workers=3, batch_size=batch_size, max_pixels=10_000
    )


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path, "mean-colour", 3)


def test_every_task_gets_the_vector_of_its_own_image_in_full_batches(cache: EmbeddingCache) -> None:
    backbone = MeanColour()
    items = [item(task_id, image_file(task_id)) for task_id in range(10)]
    results = dict(itertools.chain(*run(backbone, cache, items)))
    assert list(results) == list(range(10))
    assert cache.rows([str(results[n]) for n in range(10)])[:, 0].tolist() == list(range(10))
    assert backbone.batches == [4, 4, 2]


def test_equal_bytes_are_embedded_once_and_known_ones_not_at_all(cache: EmbeddingCache) -> None:
    backbone = MeanColour()
    twins = [item(1, image_file(1)), item(2, image_file(1)), item(3, image_file(3))]
    assert [len(batch) for batch in run(backbone, cache, twins)] == [3]
    assert backbone.batches == [2]
    (again,) = run(backbone, cache, [*twins, item(4, image_file(3))])
    assert [found for _, found in again] == [
        content_hash(image_file(number)) for number in (1, 1, 3, 3)
    ]
    assert backbone.batches == [2]


def test_an_image_that_cannot_be_read_is_a_result_and_stops_nothing(cache: EmbeddingCache) -> None:
    def missing() -> bytes:
        raise ImageUnreadable("There is no such file.")

    items = [
        item(1, b"<html>"),
        (2, missing),
        item(3, file_bytes(noise(0, (200, 200)))),
        item(4, image_file(4)),
    ]
    results = dict(itertools.chain(*run(MeanColour(), cache, items)))
    assert "web page" in str(results[1])
    assert str(results[2]) == "There is no such file."
    assert "40,000 pixels" in str(results[3])
    assert results[4] == content_hash(image_file(4))


def test_another_error_of_a_fetch_is_raised_after_what_came_before_it_is_safe(
    cache: EmbeddingCache,
) -> None:
    def revoked() -> bytes:
        raise LabelStudioUnreachable("no answer")

    batches = run(
        MeanColour(), cache, [item(1, image_file(1)), (2, revoked), item(3, image_file(3))]
    )
    assert next(batches) == [(1, content_hash(image_file(1)))]
    assert cache.has(content_hash(image_file(1)))
    with pytest.raises(LabelStudioUnreachable):
        next(batches)


def test_stopping_early_keeps_what_was_yielded_and_the_next_run_does_the_rest(
    cache: EmbeddingCache,
) -> None:
    items = [item(task_id, image_file(task_id)) for task_id in range(20)]
    batches = run(MeanColour(), cache, items)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(cache) == 4
    backbone = MeanColour()
    assert sum(len(batch) for batch in run(backbone, cache, items)) == 20
    assert sum(backbone.batches) == 16


def test_no_more_images_are_fetched_ahead_than_the_bound(cache: EmbeddingCache) -> None:
    fetched = threading.Semaphore(0)
    count = itertools.count()

    def fetch_of(number: int) -> Callable[[], bytes]:
        def fetch() -> bytes:
            next(count)
            fetched.release()
            return image_file(number)

        return fetch

    batches = run(MeanColour(), cache, [(n, fetch_of(n)) for n in range(200)])
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert next(count) <= 4 + 2 * 4 + 3


def test_results_flow_while_the_network_has_nothing_to_do(cache: EmbeddingCache) -> None:
    done: list[int] = []
    items = [item(task_id, b"no image") for task_id in range(600)]
    batches = embed_missing(
        MeanColour(),
        cache,
        items,
        workers=2,
        batch_size=4,
        max_pixels=100,
        on_progress=done.append,
    )
    assert [len(batch) for batch in batches] == [256, 256, 88]
    assert done == [256, 512, 600]


def test_embeddings_that_are_not_finite_are_never_cached(cache: EmbeddingCache) -> None:
    ((result,),) = run(NothingFinite(), cache, [item(1, image_file(1))])
    assert "no finite embedding" in str(result[1])
    assert len(cache) == 0
