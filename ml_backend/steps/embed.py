"""Embed: give every image its vector, a slice at a time, so that nobody waits for an import."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from ml_backend.learning.embeddings import Batch, EmbeddingCache, embed_missing
from ml_backend.steps.workbench import Workbench

if TYPE_CHECKING:  # loads torch
    from ml_backend.learning.backbones import Backbone

# An image that could not be read is tried again after that long, while nobody labels: its server
# may be back, or its storage mended.
TRY_AGAIN_AFTER = timedelta(hours=1)


def try_again(bench: Workbench, *, at_once: bool) -> bool:
    """Let images that could not be read be embedded like new ones; tell whether there are any.

    `at_once`: all of them, else those that were tried long ago.
    """
    before = bench.now() - (timedelta(0) if at_once else TRY_AGAIN_AFTER)
    return bench.store.forget_unreadable(bench.project.project_id, before) > 0


def embed(bench: Workbench, *, enough: Callable[[], bool] = lambda: False) -> int:
    """Embed the tasks that have no vector yet and return how many are left.

    `enough` is asked after each batch and ends the slice: what is embedded by then stays, and the
    next round goes on. An image that cannot be read is noted with its reason and passed over.
    """
    project_id = bench.project.project_id
    todo = _without_vector(bench)
    if not todo:
        return 0
    done = 0
    for batch in _embedded(bench, bench.backbone(), bench.cache(), todo):
        bench.still_ours()
        hashes = {task_id: found for task_id, found in batch if isinstance(found, str)}
        refused = {task_id: str(why) for task_id, why in batch if not isinstance(why, str)}
        bench.store.set_content_hashes(project_id, hashes)
        bench.store.set_unreadable(project_id, refused, bench.now())
        done += len(batch)
        bench.on_progress("embedding images", done, len(todo))
        if enough():
            break
    return len(todo) - done


def time_slice(seconds: float, or_when: Callable[[], bool]) -> Callable[[], bool]:
    """Return a test that is true once `seconds` have passed since now, or when `or_when` is."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end or or_when()


def _without_vector(bench: Workbench) -> list[tuple[int, str]]:
    """Return (task_id, image_uri) of the readable tasks whose image has no vector in the cache.

    A known hash without a vector means another backbone or a lost cache: embedded again.
    """
    bench.cache().refresh()  # another process may have embedded since
    mirror = bench.store.mirror(bench.project.project_id)
    readable = [row for row in range(len(mirror.task_ids)) if mirror.unreadable[row] is None]
    missing = [row for row in readable if mirror.content_hashes[row] is None]
    hashed = [row for row in readable if mirror.content_hashes[row] is not None]
    if hashed:
        known = bench.cache().has_all([str(mirror.content_hashes[row]) for row in hashed])
        missing += [row for row, there in zip(hashed, known, strict=True) if not there]
    return [(int(mirror.task_ids[row]), mirror.image_uris[row]) for row in sorted(missing)]


def embed_beside(
    bench: Workbench,
    backbone: Backbone,
    cache: EmbeddingCache,
    task_ids: Sequence[int],
    between_batches: Callable[[int, int], None],
) -> None:
    """Embed tasks by another backbone than the one in force, into its own cache.

    `between_batches(done, total)` may wait, or raise to stop: what is embedded stays. An image that
    cannot be read is left to the rounds, which note it.
    """
    mirror = bench.store.mirror(bench.project.project_id)
    rows = zip(mirror.task_ids.tolist(), mirror.image_uris, mirror.content_hashes, strict=True)
    wanted = set(task_ids)
    known = [(task_id, uri, str(name)) for task_id, uri, name in rows if task_id in wanted and name]
    cache.refresh()
    there = cache.has_all([name for _, _, name in known])
    todo = [(t, uri) for (t, uri, _), has in zip(known, there, strict=True) if not has]
    done = 0
    for batch in _embedded(bench, backbone, cache, todo):
        done += len(batch)
        between_batches(done, len(todo))


def _embedded(
    bench: Workbench, backbone: Backbone, cache: EmbeddingCache, todo: Iterable[tuple[int, str]]
) -> Iterator[Batch]:
    items = ((task_id, partial(bench.images.read, task_id, uri)) for task_id, uri in todo)
    return embed_missing(
        backbone,
        cache,
        items,
        workers=bench.plan.fetch_workers,
        batch_size=bench.plan.batch_size,
        max_pixels=bench.plan.image_max_pixels,
    )
