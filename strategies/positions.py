"""Where the pool and the labeled tasks lie: their unit directions, in one pass of small blocks.

Every strategy that compares images compares these, so that none depends on the embedding's scale.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray
from strategies.geometry import Directions
from strategies.query import Query

_BLOCK_ROWS = 2048


def directions(query: Query) -> tuple[FloatArray, FloatArray]:
    """Return unit directions around the mean: of the pool (N, D) and of the labeled (M, D).

    float32; a row at the mean itself is a zero vector. Holds one copy of the pool's embeddings.
    """
    labeled_MD = query.labeled.embeddings_MD
    if not len(query.labeled):  # it may have any number of columns
        labeled_MD = query.embeddings_ND[:0]
    to_directions = Directions.of_pool(query.embeddings_ND, labeled_MD)
    pool_ND = np.empty(query.embeddings_ND.shape, dtype=np.float32)
    for start in range(0, query.size, _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        pool_ND[block] = to_directions.of(query.embeddings_ND[block])
    return pool_ND, to_directions.of(labeled_MD)
