"""Labels that are flipped on purpose, and how many of them are suspected.

Knows image sets, simulated projects and the appraisal's suspects; beside these what confident
learning alone says, by its paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.image_sets import ImageSet
from benchmarks.project_simulation import MOMENTS, QUEUE, Arrays, Project, rows_of, simulate
from ml_backend.appraisal.heads import answers, plain_head, probs_out_of_fold
from ml_backend.appraisal.suspects import find_suspects
from ml_backend.learning.head import fit_head

FLIPPED_SHARE = 0.05
KINDS = {"uniform": "to any other class", "confused": "to the class it is most confused with"}
METHODS = {"suspects": "suspects", "confident": "confident learning"}


def planted_errors(image_set: ImageSet, seed: int) -> Arrays:
    """Flip labels of queue and audit and look for them.

    KIND.METHOD: (flipped, suspected, flipped of these, flipped of as many worst as were flipped).
    """
    n_classes, project = len(image_set.classes), simulate(image_set, QUEUE, seed)
    trained = len(project.queue_M)
    rows = np.concatenate([project.queue_M, project.audit_A[: MOMENTS[-1][1]]])
    rng = np.random.default_rng([seed, 1])
    found = {}
    for kind in KINDS:
        labels_L = image_set.labels_N[rows].copy()
        flipped = rng.permutation(len(rows))[: round(FLIPPED_SHARE * len(rows))]
        if kind == "uniform":
            labels_L[flipped] += rng.integers(1, n_classes, len(flipped))
            labels_L[flipped] %= n_classes
        else:
            labels_L[flipped] = _most_confused(image_set, project)[labels_L[flipped]]
        probs_LC = _said(image_set.embeddings_ND[rows], labels_L, trained, n_classes, seed)
        suspects = [each.row for each in find_suspects(probs_LC, labels_L)]
        for name, worst_first in (
            ("suspects", suspects),
            ("confident", confident_learning(probs_LC, labels_L)),
        ):
            hits = np.isin(worst_first, flipped)
            counts = (len(flipped), len(hits), hits.sum(), hits[: len(flipped)].sum())
            found[f"{kind}.{name}"] = np.array(counts)
    return found


def confident_learning(
    probs_LC: NDArray[np.floating[Any]], labels_L: NDArray[np.int64]
) -> list[int]:
    """Return the rows off the diagonal of the confident joint, by normalised margin.

    Northcutt, Jiang and Chuang 2021: a label counts for the likeliest of the classes whose
    probability is at least the mean that it has over labels of that class.
    """
    rows_L, n_classes = np.arange(len(labels_L)), probs_LC.shape[1]
    own_L = probs_LC[rows_L, labels_L].astype(np.float64)
    count_C = np.bincount(labels_L, minlength=n_classes)
    total_C = np.bincount(labels_L, weights=own_L, minlength=n_classes)
    threshold_C = np.where(count_C > 0, total_C / np.maximum(count_C, 1), np.inf)
    confident_LC = probs_LC >= threshold_C
    counted_L = np.where(confident_LC, probs_LC, -1.0).argmax(axis=1)
    off_L = confident_LC.any(axis=1) & (counted_L != labels_L)
    others_LC = probs_LC.astype(np.float64)
    others_LC[rows_L, labels_L] = -np.inf
    margin_L = own_L - others_LC.max(axis=1)
    return sorted(np.flatnonzero(off_L).tolist(), key=lambda row: margin_L[row])


def _said(
    embeddings_LD: NDArray[np.float32],
    labels_L: NDArray[np.int64],
    n_trained: int,
    n_classes: int,
    seed: int,
) -> NDArray[np.float32]:
    """Return what heads say that did not see the label each: out of fold, then of the holdout."""
    trained = slice(0, n_trained)
    head = fit_head(embeddings_LD[trained], labels_L[trained], n_classes)
    assert head is not None
    oof_MC = probs_out_of_fold(
        embeddings_LD[trained],
        labels_L[trained],
        n_classes,
        temperature=head.temperature,
        seed=seed,
    )
    return np.concatenate([oof_MC, head.probs(embeddings_LD[n_trained:])])


def _most_confused(image_set: ImageSet, project: Project) -> NDArray[np.int64]:
    """Return the class that each class is most often taken for on fresh images (C)."""
    n_classes = len(image_set.classes)
    head = plain_head(*rows_of(image_set, project.queue_M), n_classes)
    fresh_FD, true_F = rows_of(image_set, project.fresh_F)
    cells_F = true_F * n_classes + answers(head, fresh_FD)
    confusion_CC = np.bincount(cells_F, minlength=n_classes**2).reshape(n_classes, n_classes)
    np.fill_diagonal(confusion_CC, -1)
    return np.asarray(confusion_CC.argmax(axis=1))
