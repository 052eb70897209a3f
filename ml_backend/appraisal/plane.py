"""The map: embeddings laid out on a page.

Knows embeddings only. Two principal components: what they keep of the distances is shown as it is,
and they are the same in every run, which neighbour embeddings are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

METHOD = "PCA of the embeddings"
EDGE = 0.01  # this share of points at each end lies on the edge


def lay_out(embeddings_KD: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return two coordinates in [0, 1] for each of K images (K, 2); K may be 0.

    Each row is brought to length 1 about the mean first, as the head does. Each axis runs from its
    1st to its 99th percentile, so that a few outliers do not press all others together.
    """
    centred_KD = embeddings_KD.astype(np.float64)
    if len(centred_KD) < 2:
        return np.full((len(centred_KD), 2), 0.5)
    centred_KD -= centred_KD.mean(axis=0)
    lengths_K = np.linalg.norm(centred_KD, axis=1)
    centred_KD /= np.where(lengths_K > 0, lengths_K, 1.0)[:, None]
    centred_KD -= centred_KD.mean(axis=0)
    _, vectors_DD = np.linalg.eigh(centred_KD.T @ centred_KD)
    axes_D2 = vectors_DD[:, ::-1][:, :2]
    # An axis may point either way: its largest part is made positive.
    axes_D2 = axes_D2 * np.sign(
        axes_D2[np.abs(axes_D2).argmax(axis=0), np.arange(axes_D2.shape[1])]
    )
    spots_K2 = centred_KD @ axes_D2
    if spots_K2.shape[1] == 1:
        spots_K2 = np.concatenate([spots_K2, np.zeros_like(spots_K2)], axis=1)
    low_2, high_2 = np.quantile(spots_K2, (EDGE, 1 - EDGE), axis=0)
    width_2 = np.where(high_2 - low_2 > 1e-9, high_2 - low_2, np.inf)
    flat_2 = np.isinf(width_2)
    return np.clip(np.where(flat_2, 0.5, (spots_K2 - low_2) / width_2), 0.0, 1.0)
