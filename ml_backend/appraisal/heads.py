"""Heads that are fitted by the hundred, only to be asked what they get right.

Knows embeddings and class rows. They are the live loop's heads: the same scaling and the same
logistic regression, minimised in the same way. What is left out is all that does not change an
answer, and that took nine tenths of the time of a small one: calibration, and the checks of
scikit-learn and threadpoolctl at each call. A test holds them to `learning.head.fit_head`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.head import (
    INVERSE_REGULARISATION,
    MAX_ITERATIONS,
    Head,
    scaled,
    stratified_folds,
)

FOLDS = 5
_GRADIENT_TOLERANCE = 1e-4  # scikit-learn's
_LOSS_TOLERANCE = 64 * float(np.finfo(float).eps)  # scikit-learn's


def plain_head(
    embeddings_MD: NDArray[np.float32], labels_M: NDArray[np.int64], n_classes: int
) -> Head:
    """Fit a head on M >= 1 labels, at temperature 1. Raises ValueError without labels."""
    if not len(labels_M):
        raise ValueError("labels_M is empty: expected at least one label to fit a head on")
    seen_K, targets_M, counts_K = np.unique(labels_M, return_inverse=True, return_counts=True)
    centre_D = embeddings_MD.mean(axis=0, dtype=np.float64).astype(np.float32)
    features_MD = scaled(embeddings_MD, centre_D)
    # The weights are a mixture of the rows: fewer rows than dimensions span all that matters.
    basis_DR = np.linalg.qr(features_MD.T)[0] if len(labels_M) < len(centre_D) else None
    narrow_MR = features_MD if basis_DR is None else features_MD @ basis_DR
    weights_RK, bias_K = _minimised(narrow_MR, targets_M, len(seen_K))
    return Head(
        n_classes=n_classes,
        classes_seen_K=seen_K,
        label_counts_K=counts_K.astype(np.int64),
        centre_D=centre_D,
        weights_DK=weights_RK if basis_DR is None else basis_DR @ weights_RK,
        bias_K=bias_K,
        temperature=1.0,
        calibrated_on=0,
        oof_accuracy=None,
    )


def answers(head: Head, embeddings_ND: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the likeliest class row of each image (N)."""
    return np.asarray(head.probs(embeddings_ND).argmax(axis=1), np.int64)


def probs_out_of_fold(
    embeddings_MD: NDArray[np.float32],
    labels_M: NDArray[np.int64],
    n_classes: int,
    *,
    temperature: float,
    seed: int,
    n_folds: int = FOLDS,
) -> NDArray[np.float32]:
    """Return what heads say of each label that were fitted without it: (M, n_classes), M >= 2."""
    probs_MC = np.empty((len(labels_M), n_classes), np.float32)
    fold_M = stratified_folds(labels_M, seed, min(n_folds, len(labels_M)))
    for fold in np.unique(fold_M):
        kept_M = fold_M != fold
        head = plain_head(embeddings_MD[kept_M], labels_M[kept_M], n_classes)
        probs_MC[~kept_M] = replace(head, temperature=temperature).probs(embeddings_MD[~kept_M])
    return probs_MC


def _minimised(
    features_MD: NDArray[np.float32], targets_M: NDArray[np.int64], n_seen: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights (D, K) and bias (K) of the regularised multinomial regression.

    Two classes have one column to fit, the other stays 0; one class leaves nothing to tell apart.
    """
    from scipy.optimize import minimize

    n, width = features_MD.shape
    parameters_EK = np.zeros((width + 1, n_seen))  # the bias is the last row
    free = slice(1, 2) if n_seen == 2 else slice(0, n_seen)
    if n_seen == 1:
        return parameters_EK[:-1].astype(np.float32), parameters_EK[-1].astype(np.float32)
    shape = parameters_EK[:, free].shape
    rows_M, ridge = np.arange(n), 1.0 / (INVERSE_REGULARISATION * n)

    def loss_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters_EK[:, free] = flat.reshape(shape)
        narrow_EK = parameters_EK.astype(np.float32)
        logits_MK = (features_MD @ narrow_EK[:-1] + narrow_EK[-1]).astype(np.float64)
        logits_MK -= logits_MK.max(axis=1, keepdims=True)
        probs_MK = np.exp(logits_MK)
        sums_M1 = probs_MK.sum(axis=1, keepdims=True)
        weights_DK = parameters_EK[:-1]
        loss = (np.log(sums_M1[:, 0]) - logits_MK[rows_M, targets_M]).mean()
        probs_MK /= sums_M1
        probs_MK[rows_M, targets_M] -= 1.0
        gradient_EK = np.empty_like(parameters_EK)
        gradient_EK[:-1] = features_MD.T @ probs_MK.astype(np.float32) / n + ridge * weights_DK
        gradient_EK[-1] = probs_MK.mean(axis=0)
        return float(loss + 0.5 * ridge * (weights_DK**2).sum()), gradient_EK[:, free].ravel()

    options = {"maxiter": MAX_ITERATIONS, "gtol": _GRADIENT_TOLERANCE, "ftol": _LOSS_TOLERANCE}
    start = np.zeros(shape).ravel()
    found = minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True, options=options)
    parameters_EK[:, free] = found.x.reshape(shape)
    return parameters_EK[:-1].astype(np.float32), parameters_EK[-1].astype(np.float32)
