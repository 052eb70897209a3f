"""Embeddings of pictures that lie on disk for training, for networks that live only for a test.

What is kept in `embedding_cache` is embedded from the image files instead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ml_backend.learning.backbones import Backbone
from ml_backend.learning.pictures import Pictures

_BATCH_SIZE = 32


def embed_pictures(
    backbone: Backbone,
    pictures: Pictures,
    between_batches: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Embed the centre of every picture: float32 (N, dim). What the callback raises is raised."""
    crop_px = backbone.preprocessing.crop_px
    start = (pictures.side_px - crop_px) // 2
    centre = slice(start, start + crop_px)
    embeddings_ND = np.empty((len(pictures), backbone.dim), np.float32)
    for first in range(0, len(pictures), _BATCH_SIZE):
        rows_B = np.arange(first, min(first + _BATCH_SIZE, len(pictures)))
        pixels_BPP3 = torch.from_numpy(pictures.rows(rows_B)[:, centre, centre])
        embeddings_ND[rows_B] = backbone.embed(list(pixels_BPP3.permute(0, 3, 1, 2)))
        between_batches()
    return embeddings_ND
