"""Search by example: what looks most like the examples given. The way to find a rare class.

The seed began like that (`preindex`): from one labeled image of each class to what is like it.
"""

from __future__ import annotations

import numpy as np

from ml_backend.errors import UnrankableInput
from strategies.arrays import FloatArray, IntArray
from strategies.geometry import Directions
from strategies.order import turns
from strategies.query import Picks, Query

_BLOCK_ROWS = 2048


def similar(query: Query, *, examples_KD: FloatArray | None = None) -> Picks:
    """Order the pool by the cosine to the nearest example.

    examples_KD: embeddings of what is sought. Without them the labeled tasks are the examples, and
    their classes take turns, so that each class finds its own.
    """
    if examples_KD is not None:
        _require_same_space(query, examples_KD)
        groups_K: IntArray = np.zeros(len(examples_KD), dtype=np.int64)
    else:
        examples_KD, groups_K = query.labeled.embeddings_MD, _classes(query.labeled.labels_M)
    to_directions = Directions.of_pool(query.embeddings_ND, examples_KD)
    best_N, group_N = _nearest_group(query, to_directions, examples_KD, groups_K)
    wanted_N = query.weighted((1.0 + best_N) / 2.0)
    by_want_N = np.argsort(-wanted_N, kind="stable")
    turn_N = turns(group_N, by_want_N)
    return Picks(np.lexsort((-wanted_N, turn_N)), query.uncertainty("margin"))


def _nearest_group(
    query: Query, to_directions: Directions, examples_KD: FloatArray, groups_K: IntArray
) -> tuple[FloatArray, IntArray]:
    """Return per task the cosine to its nearest example, and that example's group."""
    examples_DK = to_directions.of(examples_KD).T
    best_N = np.empty(query.size, dtype=np.float32)
    group_N = np.empty(query.size, dtype=np.int64)
    for start in range(0, query.size, _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        cosines = to_directions.of(query.embeddings_ND[block]) @ examples_DK
        best_N[block] = cosines.max(axis=1)
        group_N[block] = groups_K[cosines.argmax(axis=1)]
    return best_N, group_N


def _classes(labels_M: IntArray) -> IntArray:
    """Return a group per labeled task: its class, or its set of classes."""
    if labels_M.ndim == 1:
        return labels_M
    return np.asarray(np.unique(labels_M, axis=0, return_inverse=True)[1]).reshape(-1)


def _require_same_space(query: Query, examples_KD: FloatArray) -> None:
    expected = query.embeddings_ND.shape[1]
    if not len(examples_KD) or examples_KD.shape[1] != expected:
        raise UnrankableInput(
            f"examples_KD has shape {examples_KD.shape}: expected (one or more, {expected})"
        )
