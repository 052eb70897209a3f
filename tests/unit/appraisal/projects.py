"""Small projects whose truth is known: blobs of points, one a class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.appraisal.evidence import Evidence
from ml_backend.learning.head import fit_head

CLASSES = ("ant", "bee", "cow")
WIDTH = 8


def blobs(n: int, seed: int, noise: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return n points about three corners, and the corner of each."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, len(CLASSES), n)
    corners_CD = 2.0 * np.eye(len(CLASSES), WIDTH)
    points_ND = corners_CD[labels_N] + noise * rng.normal(size=(n, WIDTH))
    return points_ND.astype(np.float32), labels_N


def evidence(
    *,
    queue: int = 120,
    holdout: int = 80,
    pool: int = 200,
    noise: float = 1.0,
    wrong: int = 0,
    **changes: Any,
) -> Evidence:
    """Return a project with its head; tasks are numbered from 1, 1001 and 5001.

    The first `wrong` labels of queue and holdout are each the class behind the true one.
    """
    embeddings_MD, labels_M = blobs(queue, seed=0, noise=noise)
    holdout_HD, holdout_labels_H = blobs(holdout, seed=1, noise=noise)
    pool_ND, _ = blobs(pool, seed=2, noise=noise)
    for labels in (labels_M, holdout_labels_H):
        labels[:wrong] = (labels[:wrong] + 1) % len(CLASSES)
    head = fit_head(embeddings_MD, labels_M, len(CLASSES))
    probs_NC = None if head is None else head.probs(pool_ND)
    pool_ids_N = np.arange(5001, 5001 + pool)
    found = Evidence(
        classes=CLASSES,
        seed=0,
        labeled_ids_M=np.arange(1, 1 + queue),
        labels_M=labels_M,
        embeddings_MD=embeddings_MD,
        holdout_ids_H=np.arange(1001, 1001 + holdout),
        holdout_labels_H=holdout_labels_H,
        holdout_embeddings_HD=holdout_HD,
        head=head,
        pool_ids_N=pool_ids_N,
        probs_NC=probs_NC,
        uncertainty_N=None if probs_NC is None else 1 - probs_NC.max(axis=1),
        map_ids_K=pool_ids_N[:50],
        map_embeddings_KD=pool_ND[:50],
        map_labels_K=np.full(len(pool_ids_N[:50]), -1),
    )
    return replace(found, **changes)
