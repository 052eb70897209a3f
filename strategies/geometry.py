"""Where images lie: directions around the pool's mean, and how alike two of them are.

Knows embeddings alone. Penultimate features of a ReLU network all point into one corner; taken
around their mean they spread out, and a kernel of a fixed width can tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.arrays import FloatArray
from strategies.device import Matrix, module_of

_NEAR_THE_MEAN = 1e-3  # squared rest of a unit vector below which subtracting loses its digits
_SAFE_SQUARES = 1e-30, 1e30
_MEAN_SAMPLE = 4096  # rows whose mean stands for the pool's
_NO_DIRECTION = 1e-4  # a shorter rest than this, of a unit vector, is rounding and no direction


def unit_rows(vectors_ND: FloatArray) -> FloatArray:
    """Return float32 rows of length 1; zero rows stay zero, at any scale of the input."""
    largest_N1 = np.abs(vectors_ND).max(axis=1, initial=0.0, keepdims=True)
    scaled_ND = vectors_ND / np.where(largest_N1 > 0, largest_N1, 1.0)
    lengths_N1 = np.linalg.norm(scaled_ND, axis=1, keepdims=True)
    unit_ND: FloatArray = scaled_ND / np.where(lengths_N1 > 0, lengths_N1, 1.0)
    return unit_ND.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """A map from raw embeddings to unit vectors around `mean_D`."""

    mean_D: FloatArray

    @classmethod
    def around(cls, sample_SD: FloatArray, labeled_MD: FloatArray, pool_size: int) -> Directions:
        """Centre on the mean of pool and labeled, the pool seen through a uniform sample of it."""
        share = pool_size / max(len(sample_SD), 1)
        total_D = unit_rows(sample_SD).sum(axis=0, dtype=np.float64) * share
        if len(labeled_MD):
            total_D = total_D + unit_rows(labeled_MD).sum(axis=0, dtype=np.float64)
        mean_D: FloatArray = total_D / max(pool_size + len(labeled_MD), 1)
        return cls(mean_D.astype(np.float32))

    @classmethod
    def of_pool(cls, pool_ND: FloatArray, labeled_MD: FloatArray) -> Directions:
        """Centre on the mean of pool and labeled, the pool seen through a regular sample of it."""
        step = -(-len(pool_ND) // _MEAN_SAMPLE)
        return cls.around(pool_ND[::step], labeled_MD, len(pool_ND))

    @classmethod
    def raw(cls, sample_SD: FloatArray, labeled_MD: FloatArray, pool_size: int) -> Directions:
        """Take directions as they are, as the papers do; the arguments of `around`, unused."""
        del labeled_MD, pool_size
        return cls(np.zeros(sample_SD.shape[1], dtype=np.float32))

    def of(self, embeddings_ND: FloatArray) -> FloatArray:
        """Return unit directions; a row that is the mean itself becomes a zero vector."""
        around_ND = unit_rows(embeddings_ND) - self.mean_D
        lengths_N = np.linalg.norm(around_ND, axis=1)
        around_ND[lengths_N < _NO_DIRECTION] = 0.0
        return unit_rows(around_ND)

    def cosines(self, embeddings_ND: FloatArray, directions_TD: FloatArray) -> FloatArray:
        """Return `of(embeddings_ND) @ directions_TD.T`, (N, T), without making the directions.

        Rows that lie too near to the mean, or are too long or short to square, go the long way.
        """
        rows_ND = embeddings_ND.astype(np.float32, copy=False)
        with np.errstate(over="ignore", under="ignore"):
            squares_N = np.einsum("nd,nd->n", rows_ND, rows_ND)
        safe_N = (squares_N > _SAFE_SQUARES[0]) & (squares_N < _SAFE_SQUARES[1])
        onto_DT = np.concatenate([directions_TD, self.mean_D[None]]).T
        with np.errstate(over="ignore", invalid="ignore"):
            along_NT = rows_ND @ onto_DT
            along_NT /= np.sqrt(np.where(safe_N, squares_N, 1.0))[:, None]
            rest_N = 1.0 - 2.0 * along_NT[:, -1] + float(self.mean_D @ self.mean_D)
        safe_N &= rest_N > _NEAR_THE_MEAN
        cosines_NT = along_NT[:, :-1] - directions_TD @ self.mean_D
        cosines_NT /= np.sqrt(np.where(safe_N, rest_N, 1.0))[:, None]
        if not safe_N.all():
            cosines_NT[~safe_N] = self.of(embeddings_ND[~safe_N]) @ directions_TD.T
        return np.asarray(cosines_NT)


def gaussian(rows_AD: Matrix, rows_BD: Matrix, sigma: float) -> Matrix:
    """Return exp(-|a - b|^2 / sigma^2) as float32 (A, B), in [0, 1]. Runs where the rows are."""
    xp = module_of(rows_AD)
    squares_A = xp.einsum("ad,ad->a", rows_AD, rows_AD)
    squares_B = xp.einsum("bd,bd->b", rows_BD, rows_BD)
    exponent_AB = rows_AD @ rows_BD.T
    exponent_AB *= 2.0
    exponent_AB -= squares_A[:, None]
    exponent_AB -= squares_B[None, :]
    xp.clip(exponent_AB, None, 0.0, out=exponent_AB)  # rounding must not make two alike beyond 1
    exponent_AB *= 1.0 / sigma**2
    return xp.exp(exponent_AB, out=exponent_AB)


def distance_quantile(rows_MD: FloatArray, q: float) -> float:
    """Return the q-quantile of the distances between all pairs of rows; M >= 2."""
    squares_M = np.einsum("md,md->m", rows_MD, rows_MD)
    distances_MM = squares_M[:, None] + squares_M[None, :] - 2.0 * (rows_MD @ rows_MD.T)
    pairs = distances_MM[np.triu_indices(len(rows_MD), k=1)]
    return float(np.sqrt(max(np.quantile(pairs, q), 0.0)))
