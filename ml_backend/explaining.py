"""Why a task stands where it stands: the numbers behind `active-labeler why`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.jobs.store import ConnectedProject, FrontRecord, Mirror
from ml_backend.learning.checkpoints import RoundResults
from ml_backend.learning.embeddings import EmbeddingCache
from ml_backend.lookup import TaskLookup
from ml_backend.steps.front import reason_of


def explain(
    project: ConnectedProject,
    results: RoundResults,
    mirror: Mirror,
    cache: EmbeddingCache,
    window: Sequence[int],
    task_id: int,
    front: FrontRecord | None = None,
) -> dict[str, Any]:
    """Return what the last round knows of a task; `place` is None where it did not rank it.

    `front`: that people want the task first. A labeled one has its place in the window alone.
    Probabilities and uncertainty are in [0, 1]; `nearest_labeled` gives the cosine similarity.
    """
    lookup = TaskLookup(results)
    place = lookup.place(task_id)
    if place is None and task_id in window:
        place = list(window).index(task_id)
    standing = _reason(results, lookup.place(task_id)) or _standing(results, mirror, task_id)
    return {
        "task": task_id,
        "place": place,
        "of": lookup.pool_size,
        "reason": standing if front is None else _put_first(front, lookup, standing),
        "uncertainty": lookup.uncertainty(task_id),
        "likeliest": _two_likeliest(results, lookup.probs(task_id)),
        "nearest_labeled": _nearest_labeled(results, mirror, cache, task_id),
        "in_published_window": task_id in set(window),
        "model_version": results.model_version,
        "version_in_force": project.current_version,
    }


def _put_first(front: FrontRecord, lookup: TaskLookup, standing: str) -> str:
    if lookup.is_audit(front.task_id):
        return f"{standing} It was put at the front, and keeps its turn all the same."
    return reason_of(front)


def _reason(results: RoundResults, place: int | None) -> str:
    return results.reasons[place] if place is not None and place < len(results.reasons) else ""


def _standing(results: RoundResults, mirror: Mirror, task_id: int) -> str:
    """Say why a task has no reason of its own."""
    row = _row(mirror, task_id)
    if row is None:
        return "Label Studio has no such task in this project, as far as we know."
    if mirror.unreadable[row] is not None:
        return f"Its image cannot be read: {mirror.unreadable[row]}"
    if task_id in results.labeled_ids_M:
        return "It is labeled."
    if task_id in results.holdout_ids_H:
        return "It is labeled, and held out: models are measured on it and never trained on it."
    if mirror.content_hashes[row] is None:
        return "Its image is not embedded yet."
    if any(annotation.task_id == task_id for annotation in mirror.annotations):
        return "It was annotated or skipped, without a label that can be learned."
    return "It stands behind the front that the strategy picks one by one."


def _two_likeliest(
    results: RoundResults, probs_C: NDArray[np.float32] | None
) -> list[tuple[str, float]]:
    if probs_C is None:
        return []
    top = np.argsort(-probs_C, kind="stable")[:2]
    return [(results.classes[int(row)], float(probs_C[row])) for row in top]


def _nearest_labeled(
    results: RoundResults, mirror: Mirror, cache: EmbeddingCache, task_id: int
) -> dict[str, Any] | None:
    own = _hash(mirror, task_id)
    labeled = [
        (int(labeled_id), int(label), _hash(mirror, int(labeled_id)))
        for labeled_id, label in zip(results.labeled_ids_M, results.labels_M, strict=True)
        if int(labeled_id) != task_id
    ]
    hashes = [content_hash for _, _, content_hash in labeled if content_hash is not None]
    if own is None or not hashes or not all(cache.has_all([own, *hashes])):
        return None
    own_D, others_MD = cache.rows([own])[0], cache.rows(hashes)
    lengths_M = np.linalg.norm(others_MD, axis=1) * np.linalg.norm(own_D)
    cosines_M = others_MD @ own_D / np.maximum(lengths_M, np.finfo(np.float32).tiny)
    best = int(cosines_M.argmax())
    with_vector = [entry for entry in labeled if entry[2] is not None]
    labeled_id, label, _ = with_vector[best]
    return {
        "task": labeled_id,
        "label": results.classes[label],
        "similarity": float(cosines_M[best]),
    }


def _row(mirror: Mirror, task_id: int) -> int | None:
    row = int(np.searchsorted(mirror.task_ids, task_id))
    found = row < len(mirror.task_ids) and int(mirror.task_ids[row]) == task_id
    return row if found else None


def _hash(mirror: Mirror, task_id: int) -> str | None:
    row = _row(mirror, task_id)
    return None if row is None else mirror.content_hashes[row]
