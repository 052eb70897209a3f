"""Builders of small pools for the strategy tests."""

from __future__ import annotations

import numpy as np

from strategies import Candidates, Labeled


def blobs(n: int, *, n_classes: int = 4, dim: int = 8, seed: int = 0) -> tuple[Candidates, Labeled]:
    """Return a pool of `n` tasks in well separated blobs, and a labeled task for each class."""
    rng = np.random.default_rng(seed)
    centres_CD = rng.normal(size=(n_classes, dim)) * 3
    classes_N = rng.integers(n_classes, size=n)
    embeddings_ND = (centres_CD[classes_N] + rng.normal(size=(n, dim))).astype(np.float32)
    labels_M = np.arange(n_classes)
    candidates = Candidates(1000 + np.arange(n), some_probs(n, n_classes, rng), embeddings_ND)
    return candidates, Labeled(centres_CD.astype(np.float32), labels_M)


def some_probs(n: int, n_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` random class distributions."""
    return rng.dirichlet(np.full(n_classes, 0.5), size=n).astype(np.float32)


def shuffled(candidates: Candidates, rows: np.ndarray) -> Candidates:
    """Return the same pool with its rows in another order."""
    probs_NC, embeddings_ND = candidates.probs_NC, candidates.embeddings_ND
    return Candidates(
        candidates.task_ids_N[rows],
        None if probs_NC is None else probs_NC[rows],
        None if embeddings_ND is None else embeddings_ND[rows],
    )
