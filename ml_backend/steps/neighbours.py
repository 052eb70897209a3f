"""Neighbours: the labeled image that is most like a task's, by the embeddings in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.embedding_cache import EmbeddingCache
from ml_backend.steps.situation import Situation


def nearest_labeled(
    task_ids: Sequence[int],
    situation: Situation,
    hashes: Mapping[int, str],
    cache: EmbeddingCache,
) -> dict[int, tuple[int, int, float]]:
    """Return for each embedded task its nearest labeled one, its class row, and their cosine."""
    asked = [task_id for task_id in task_ids if task_id in hashes]
    labeled = np.concatenate([situation.labeled_ids_M, situation.holdout_ids_H])
    labels = np.concatenate([situation.labels_M, situation.holdout_labels_H])
    if not asked or not len(labeled):
        return {}
    own_QD = unit_length(cache.rows([hashes[task_id] for task_id in asked]))
    others_LD = unit_length(cache.rows([hashes[int(task_id)] for task_id in labeled]))
    cosines_QL = own_QD @ others_LD.T
    cosines_QL[np.array(asked)[:, None] == labeled] = -np.inf  # not itself, where it is labeled
    best_Q = cosines_QL.argmax(axis=1)
    return {
        task_id: (int(labeled[best]), int(labels[best]), float(cosines_QL[row, best]))
        for row, (task_id, best) in enumerate(zip(asked, best_Q, strict=True))
        if np.isfinite(cosines_QL[row, best])
    }


def unit_length(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to length 1; rows of zeros stay."""
    lengths_N = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors_ND / np.maximum(lengths_N, np.finfo(np.float32).tiny)
    return scaled
