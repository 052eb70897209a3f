"""Gather: labeled images from anywhere, embedded, without those that would spoil a replay.

Knows images, labels and embedding caches. What is left out is counted, and told in sentences.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.learning.embeddings import EmbeddingCache, embed_missing
from ml_backend.legible import legible
from ml_backend.settings import Settings
from ml_backend.simulation.replay import LabeledSet

if TYPE_CHECKING:
    from ml_backend.learning.backbones import Backbone

# Below this a quarter held out is so small that accuracies are told to some points at best.
FEW_IMAGES = 200
LEAST_IMAGES = 20
LEAST_A_CLASS = 4  # below that a class may be missing from the test
LISTED = 20  # unreadable images that are named

OnProgress = Callable[[str, int, int], None]
Embedding = tuple["Backbone", EmbeddingCache]


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One image with its label ("": none). `read` raises ImageUnreadable.

    `key` names it to people; `content_hash` where the SHA-256 (hex) of its bytes is known already.
    """

    key: str
    label: str
    read: Callable[[], bytes]
    content_hash: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """What can be replayed, a labeled set for each backbone, and what was left out.

    `notes` are sentences for people. `facts` are JSON for the results.
    """

    sets: Mapping[str, LabeledSet]
    backbone_keys: Mapping[str, str]
    data_hash: str
    facts: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Which images are of use, by row, and why the others are not."""

    rows: list[int]
    hashes: list[str]
    unreadable: dict[int, str]
    copies: int
    contradictory: list[int]


def require_enough(labels: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Refuse labels ("": none) of which no replay can be made, before work is put into them.

    Raises ConfigurationError, which ends with the `notes` on what was left out.
    """
    known = [label for label in labels if label]
    if not labels:
        problem = "there is no image"
    elif not known:
        problem = f"none of {_images(len(labels))} has a label that can be used"
    elif len(known) < LEAST_IMAGES:
        problem = f"only {_images(len(known))} can be used"
    elif len(set(known)) < 2:
        problem = f"all {_images(len(known))} that can be used are {legible(known[0])}"
    else:
        return
    raise ConfigurationError(
        f"{problem}: a replay needs {LEAST_IMAGES} images at least whose labels are known, of two "
        "classes or more (class folders, a table with labels, or a project in which people have "
        "labeled so many)" + "".join(f"\n{note}" for note in notes)
    )


def gather(
    images: Sequence[LabeledImage],
    embeddings: Mapping[str, Embedding],
    settings: Settings,
    on_progress: OnProgress,
    *,
    source: str,
    notes: Sequence[str] = (),
    caveats: Sequence[str] = (),
) -> Gathered:
    """Embed the labeled images by each backbone (by name), leaving out what cannot be replayed.

    `notes` say what the source has left out already, `caveats` how far a replay can be trusted.
    Raises ConfigurationError where there are too few images or classes.
    """
    require_enough([image.label for image in images], notes)
    labeled = [image for image in images if image.label]
    outcomes = {
        name: _outcomes(labeled, embedding, settings, partial(on_progress, f"embedding by {name}"))
        for name, embedding in embeddings.items()
    }
    found = _sort_out(labeled, list(outcomes.values()))
    labels = [labeled[row].label for row in found.rows]
    classes = tuple(sorted(set(labels)))
    left_out = (*notes, *_left_out(labeled, found))
    require_enough(labels, left_out)
    labels_N = np.array([classes.index(label) for label in labels], dtype=np.int64)
    facts = {
        "source": source,
        "images": len(labels),
        "classes": dict(sorted(Counter(labels).items())),
        "unlabeled": len(images) - len(labeled),
        "copies": found.copies,
        "contradictory": [labeled[row].key for row in found.contradictory],
        "unreadable": {labeled[row].key: why for row, why in found.unreadable.items()},
    }
    data = json.dumps([found.hashes, labels]).encode()
    return Gathered(
        sets={
            name: LabeledSet(classes, labels_N, cache.rows(found.hashes))
            for name, (_, cache) in embeddings.items()
        },
        backbone_keys={name: backbone.key for name, (backbone, _) in embeddings.items()},
        data_hash=sha256(data).hexdigest()[:16],
        facts=facts,
        notes=(*left_out, *_warnings(Counter(labels)), *caveats),
    )


def pictures(
    images: Sequence[LabeledImage], settings: Settings, on_progress: OnProgress
) -> Iterator[Any]:
    """Yield the readable pictures in random order, to train the backbone `scratch` on."""
    from ml_backend.learning.images import decode
    from ml_backend.learning.scratch import MAX_IMAGES

    rows = np.random.default_rng(settings.seed).permutation(len(images)).tolist()
    for number, row in enumerate(rows, start=1):
        on_progress("training a network", number, min(len(rows), MAX_IMAGES))
        try:
            yield decode(images[row].read(), settings.image_max_pixels)
        except ImageUnreadable:
            continue  # embedding, which follows, tells the reason


def _outcomes(
    images: Sequence[LabeledImage],
    embedding: Embedding,
    settings: Settings,
    on_progress: Callable[[int, int], None],
) -> list[str | ImageUnreadable]:
    """Return each image's content hash, or why it has no embedding."""
    backbone, cache = embedding
    outcomes: dict[int, str | ImageUnreadable] = {
        row: image.content_hash
        for row, image in enumerate(images)
        if image.content_hash and cache.has(image.content_hash)
    }
    items = [(row, image.read) for row, image in enumerate(images) if row not in outcomes]
    for batch in embed_missing(
        backbone,
        cache,
        items,
        workers=settings.fetch_workers,
        batch_size=settings.batch_size,
        max_pixels=settings.image_max_pixels,
        on_progress=lambda done: on_progress(done, len(items)),
    ):
        outcomes.update(batch)
    return [outcomes[row] for row in range(len(images))]


def _sort_out(
    images: Sequence[LabeledImage], outcomes: Sequence[list[str | ImageUnreadable]]
) -> _Sorted:
    """Keep one of equal images: in pool and test at once it would tell the answer.

    Equal images under several labels have no known answer, and none of them is kept.
    """
    unreadable = {
        row: str(why)
        for outcome in outcomes
        for row, why in enumerate(outcome)
        if isinstance(why, ImageUnreadable)
    }
    by_hash: dict[str, list[int]] = {}
    for row, name in enumerate(outcomes[0]):
        if row not in unreadable:
            by_hash.setdefault(str(name), []).append(row)
    agreed = {
        name: rows[0]
        for name, rows in by_hash.items()
        if len({images[row].label for row in rows}) == 1
    }
    contradictory = [row for name, rows in by_hash.items() if name not in agreed for row in rows]
    copies = sum(len(by_hash[name]) - 1 for name in agreed)
    return _Sorted(list(agreed.values()), list(agreed), unreadable, copies, contradictory)


def _left_out(labeled: Sequence[LabeledImage], found: _Sorted) -> list[str]:
    notes = []
    if found.unreadable:
        named = [f"{labeled[row].key} ({why})" for row, why in found.unreadable.items()]
        more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
        notes.append(
            f"Left out, since they cannot be read: {_images(len(named))}: "
            f"{'; '.join(named[:LISTED])}{more}."
        )
    if found.copies:
        notes.append(
            f"Left out as exact copies of others: {_images(found.copies)}. On both sides of a "
            "split they would tell the answer."
        )
    if found.contradictory:
        named = [labeled[row].key for row in found.contradictory]
        notes.append(
            "Left out as exact copies under different labels, so that nobody knows theirs: "
            f"{_images(len(named))}: {', '.join(named[:LISTED])}."
        )
    return notes


def _warnings(counts: Mapping[str, int]) -> list[str]:
    notes = []
    if (images := sum(counts.values())) < FEW_IMAGES:
        notes.append(
            f"Only {_images(images)} can be replayed: what is told of so few is coarse, and only "
            f"large differences show. {FEW_IMAGES} or more are better."
        )
    if rare := [name for name in sorted(counts) if counts[name] < LEAST_A_CLASS]:
        notes.append(f"Classes with hardly an image to test on: {', '.join(rare[:LISTED])}.")
    return notes


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n} images"
