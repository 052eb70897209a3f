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
from ml_backend.labeled_files import LabeledImage
from ml_backend.learning.embeddings import EmbeddingCache, embed_missing
from ml_backend.settings import Settings
from ml_backend.simulation.replay import LabeledSet
from ml_backend.steps.situation import situate

if TYPE_CHECKING:
    from ml_backend.learning.backbones import Backbone
    from ml_backend.steps.workbench import Workbench

# Below this a quarter held out is so small that accuracies are told to some points at best.
FEW_IMAGES = 200
LEAST_IMAGES = 20
LEAST_A_CLASS = 4  # below that a class may be missing from the test
LISTED = 20  # unreadable images that are named

OnProgress = Callable[[str, int, int], None]
Embedding = tuple["Backbone", EmbeddingCache]


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


def labeled_of_project(bench: Workbench) -> tuple[list[LabeledImage], tuple[str, ...]]:
    """Return what is labeled so far in a connected project, and how far a replay can be trusted."""
    mirror = bench.store.mirror(bench.project.project_id)
    situation = situate(mirror, bench.project.control, bench.holdout)
    uris = dict(zip(mirror.task_ids.tolist(), mirror.image_uris, strict=True))
    task_ids = [*situation.labeled_ids_M.tolist(), *situation.holdout_ids_H.tolist()]
    labels = [*situation.labels_M.tolist(), *situation.holdout_labels_H.tolist()]
    hashes = [*situation.labeled_hashes, *situation.holdout_hashes]
    images = [
        LabeledImage(
            key=f"task {task_id}",
            label=bench.project.control.classes[label],
            read=partial(bench.images.read, task_id, uris[task_id]),
            content_hash=name,
        )
        for task_id, label, name in zip(task_ids, labels, hashes, strict=True)
    ]
    chosen, audit = len(situation.labeled_ids_M), len(situation.holdout_ids_H)
    return images, _how_far_to_trust(chosen, audit, situation.pool_size)


def _how_far_to_trust(chosen: int, audit: int, pool: int) -> tuple[str, ...]:
    return (
        f"Replayed is what is labeled so far: {chosen + audit} images, and {pool} are not. "
        f"{chosen} of them were chosen by the queue and are no random sample of the project: hard "
        "and rare images are too many among them. "
        f"{audit} are audit labels, drawn at random.",
        "So the accuracies here are not those of the project (the audit's are, in `status`), and "
        "gains over random may come out smaller or larger than on images that nobody chose. Trust "
        "the order of the strategies more than the size of their gains.",
    )


def gather(
    images: Sequence[LabeledImage],
    embeddings: Mapping[str, Embedding],
    settings: Settings,
    on_progress: OnProgress,
    *,
    source: str,
    notes: Sequence[str] = (),
) -> Gathered:
    """Embed the labeled images by each backbone (by name), leaving out what cannot be replayed.

    Raises ConfigurationError where there are too few images or classes.
    """
    labeled = [image for image in images if image.label]
    if not labeled:
        raise ConfigurationError(
            f"none of the {len(images)} images has a label: a replay needs images whose labels are "
            "known (class folders, a CSV with labels, or a project with annotations)"
        )
    outcomes = {
        name: _outcomes(labeled, embedding, settings, partial(on_progress, f"embedding by {name}"))
        for name, embedding in embeddings.items()
    }
    found = _sort_out(labeled, list(outcomes.values()))
    labels = [labeled[row].label for row in found.rows]
    classes = tuple(sorted(set(labels)))
    told = _notes(images, labeled, found, classes, Counter(labels))
    _require_enough(labels, classes, told)
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
        notes=(*notes, *told),
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


def _notes(
    images: Sequence[LabeledImage],
    labeled: Sequence[LabeledImage],
    found: _Sorted,
    classes: Sequence[str],
    counts: Mapping[str, int],
) -> tuple[str, ...]:
    notes = []
    if len(images) > len(labeled):
        notes.append(f"{len(images) - len(labeled)} images have no label and were left out.")
    if found.unreadable:
        named = [f"{labeled[row].key} ({why})" for row, why in found.unreadable.items()]
        more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
        notes.append(
            f"{len(named)} images cannot be read and were left out: "
            f"{'; '.join(named[:LISTED])}{more}."
        )
    if found.copies:
        notes.append(
            f"{found.copies} images are exact copies of others and were left out: on both sides of "
            "a split they would tell the answer."
        )
    if found.contradictory:
        named = [labeled[row].key for row in found.contradictory]
        notes.append(
            f"{len(named)} images are exact copies under different labels, so that nobody knows "
            f"theirs, and were left out: {', '.join(named[:LISTED])}."
        )
    if len(found.rows) < FEW_IMAGES:
        notes.append(
            f"Only {len(found.rows)} images: what is told of so few is coarse, and only large "
            f"differences show. {FEW_IMAGES} or more are better."
        )
    if rare := [name for name in classes if counts[name] < LEAST_A_CLASS]:
        notes.append(f"Classes with hardly an image to test on: {', '.join(rare[:LISTED])}.")
    return tuple(notes)


def _require_enough(labels: Sequence[str], classes: Sequence[str], notes: Sequence[str]) -> None:
    if len(classes) >= 2 and len(labels) >= LEAST_IMAGES:
        return
    why = "".join(f"\n{note}" for note in notes)
    if len(classes) < 2:
        raise ConfigurationError(
            f"{len(labels)} images of {len(classes)} class can be used: a replay needs two classes "
            f"at least{why}"
        )
    raise ConfigurationError(
        f"only {len(labels)} images can be used: a replay needs {LEAST_IMAGES} at least{why}"
    )
