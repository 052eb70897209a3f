"""Builders of small pools for the strategy tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from strategies import Candidates, Labeled


def blobs(n: int, *, n_classes: int = 4, dim: int = 8, seed: int = 0) -> tuple[Candidates, Labeled]:
    """Return a pool of `n` tasks in well separated blobs, and a labeled task for each class."""
    rng = np.random.default_rng(seed)
    centres_CD = rng.normal(size=(n_classes, dim)) * 3
    classes_N = rng.integers(n_classes, size=n)
    embeddings_ND = (centres_CD[classes_N] + rng.normal(size=(n, dim))).astype(np.float32)
    labels_M = np.arange(n_classes)
    probs_NC = some_probs(n, n_classes, rng)
    candidates = Candidates(
        1000 + np.arange(n), probs_NC, embeddings_ND, predict=linear_head(dim, n_classes)
    )
    return candidates, Labeled(centres_CD.astype(np.float32), labels_M)


def some_probs(n: int, n_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` random class distributions."""
    return rng.dirichlet(np.full(n_classes, 0.5), size=n).astype(np.float32)


def linear_head(dim: int, n_classes: int, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from embeddings to probabilities, with random weights."""
    weights_DC = np.random.default_rng(seed).normal(size=(dim, n_classes)) / np.sqrt(dim)

    def probs(embeddings_KD: np.ndarray) -> np.ndarray:
        """Return the softmax of a linear map of each row's direction."""
        lengths_K1 = np.linalg.norm(embeddings_KD.astype(np.float64), axis=1, keepdims=True)
        rows_KD = embeddings_KD / np.where(lengths_K1 > 0, lengths_K1, 1.0)
        shares_KC = np.exp(4 * rows_KD @ weights_DC)
        return shares_KC / shares_KC.sum(axis=1, keepdims=True)

    return probs


def shuffled(candidates: Candidates, rows: np.ndarray) -> Candidates:
    """Return the same pool with its rows in another order."""
    return candidates.take(rows)
