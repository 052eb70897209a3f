"""The small model on top of the embeddings, refitted after every few annotations.

Knows embeddings, class rows and probabilities; no images, no torch. A multinomial logistic
regression with a calibrated temperature. scikit-learn is imported where it fits, because
processes that only read results load this module too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

# Inverse regularisation, chosen with the scaling of `scaled` on SqueezeNet features of three image
# sets at 20 to 500 labels: 10 to 100 differ by less than a point, 1 and 1000 are worse.
INVERSE_REGULARISATION = 30.0
MAX_ITERATIONS = 300

FOLDS = 3
LABELS_PER_CLASS_TO_CALIBRATE = 3  # below that a temperature is noise; it stays 1
TEMPERATURE_RANGE = (0.1, 10.0)
GROWTH_TO_CALIBRATE = 1.1  # labels now over labels at the last calibration

_CHUNK_ROWS = 16_384  # keeps the scaled copy of the embeddings small


@dataclass(frozen=True, slots=True)
class Head:
    """Turns embeddings into class probabilities.

    `classes_seen_K` are the class rows that had a label, with weights each; the others share the
    probability that the rule of succession gives to what has not been seen yet.
    """

    n_classes: int
    classes_seen_K: NDArray[np.int64]
    label_counts_K: NDArray[np.int64]
    centre_D: NDArray[np.float32]
    weights_DK: NDArray[np.float32]
    bias_K: NDArray[np.float32]
    temperature: float
    calibrated_on: int  # labels at the last calibration; 0: never
    oof_accuracy: float | None  # out of fold, in [0, 1]; None where it cannot be told
    calibrated_on_unseen: bool = False  # only on rows that the network was not trained on

    @property
    def n_labels(self) -> int:
        """Count the labels it was fitted on."""
        return int(self.label_counts_K.sum())

    def probs(self, embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give float32 (N, n_classes); rows sum to 1."""
        prior_C = self._prior()
        unseen = 1.0 - prior_C[self.classes_seen_K].sum()
        probs_NC = np.tile(prior_C.astype(np.float32), (len(embeddings_ND), 1))
        for start in range(0, len(embeddings_ND), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            seen_NK = _softmax(self._logits(embeddings_ND[rows]) / np.float32(self.temperature))
            probs_NC[rows, self.classes_seen_K] = seen_NK * np.float32(1.0 - unseen)
        return probs_NC

    def _logits(self, embeddings_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        return scaled(embeddings_ND, self.centre_D) @ self.weights_DK + self.bias_K

    def _prior(self) -> NDArray[np.float64]:
        """Smooth the class frequencies: (count + 1) / (labels + classes)."""
        counts_C = np.ones(self.n_classes)
        counts_C[self.classes_seen_K] += self.label_counts_K
        return np.asarray(counts_C / counts_C.sum())


def fit_head(
    embeddings_MD: NDArray[np.float32],
    labels_M: NDArray[np.int64],
    n_classes: int,
    *,
    previous: Head | None = None,
    seed: int = 0,
    unseen_M: NDArray[np.bool_] | None = None,
    temperature_start: float | None = None,
) -> Head | None:
    """Fit a head on M labeled embeddings; None where nothing is labeled.

    `labels_M` are class rows below `n_classes`. Where `previous` was calibrated on nearly as many
    labels of the same classes, its temperature is taken over, which makes one more label cheap.
    It has to be of the same network.
    Raises ValueError for shapes and labels that do not fit.

    `unseen_M` says which images the network itself was not trained on; None: on none of them. The
    embeddings of the others are surer than those of the pool will be, so temperature and accuracy
    are then those of the unseen rows alone, out of fold. With too few of these the temperature is
    `temperature_start`, or 1.
    """
    labels_M = np.asarray(labels_M, dtype=np.int64)
    _check(embeddings_MD, labels_M, n_classes)
    _check_unseen(unseen_M, labels_M)
    if unseen_M is not None and unseen_M.all():
        unseen_M = None
    if len(labels_M) == 0:
        return None
    seen_K, targets_M, counts_K = np.unique(labels_M, return_inverse=True, return_counts=True)
    # Many small products: where another process wants the cores too, BLAS threads that wait for
    # each other make this twenty times slower (10 s for 0.5 s), and gain nothing where none does.
    with threadpool_limits(1, user_api="blas"):
        centre_D, weights_DK, bias_K = _fit(embeddings_MD, targets_M, len(seen_K))
        start = 1.0 if temperature_start is None else temperature_start
        calibration = _taken_over(previous, seen_K, len(labels_M), unseen_M) or _calibrate(
            embeddings_MD, targets_M, len(seen_K), n_classes, seed, unseen_M, start
        )
    return Head(
        n_classes=n_classes,
        classes_seen_K=seen_K,
        label_counts_K=counts_K.astype(np.int64),
        centre_D=centre_D,
        weights_DK=weights_DK,
        bias_K=bias_K,
        temperature=calibration.temperature,
        calibrated_on=calibration.n_labels,
        oof_accuracy=calibration.oof_accuracy,
        calibrated_on_unseen=unseen_M is not None and calibration.n_labels > 0,
    )


@dataclass(frozen=True, slots=True)
class _Calibration:
    temperature: float
    n_labels: int
    oof_accuracy: float | None


def _check(embeddings_MD: NDArray[np.float32], labels_M: NDArray[np.int64], n_classes: int) -> None:
    if embeddings_MD.ndim != 2 or labels_M.shape != (len(embeddings_MD),):
        raise ValueError(
            f"embeddings_MD {embeddings_MD.shape} and labels_M {labels_M.shape}: "
            "expected (M, D) and (M,)"
        )
    if len(labels_M) and not (labels_M.min() >= 0 and labels_M.max() < n_classes):
        raise ValueError(
            f"labels_M spans {labels_M.min()}..{labels_M.max()}: expected 0..{n_classes - 1}"
        )
    if not np.isfinite(embeddings_MD).all():
        raise ValueError("embeddings_MD holds values that are not finite numbers")


def _check_unseen(unseen_M: NDArray[np.bool_] | None, labels_M: NDArray[np.int64]) -> None:
    if unseen_M is not None and (unseen_M.dtype != bool or unseen_M.shape != labels_M.shape):
        raise ValueError(
            f"unseen_M is {unseen_M.dtype} {unseen_M.shape}: expected bool {labels_M.shape}"
        )


def scaled(
    embeddings_ND: NDArray[np.float32], centre_D: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Centre on the labeled mean, then bring every row to length 1 (one at the centre stays 0)."""
    centred_ND = embeddings_ND - centre_D
    lengths_N1 = np.sqrt(np.einsum("nd,nd->n", centred_ND, centred_ND))[:, None]
    return np.asarray(np.divide(centred_ND, lengths_N1, out=centred_ND, where=lengths_N1 > 0))


def _fit(
    embeddings_MD: NDArray[np.float32], targets_M: NDArray[np.int64], n_seen: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Fit centre (D), weights (D, K) and bias (K). One class leaves nothing to tell apart."""
    centre_D = embeddings_MD.mean(axis=0, dtype=np.float64).astype(np.float32)
    if n_seen == 1:
        return centre_D, np.zeros((len(centre_D), 1), np.float32), np.zeros(1, np.float32)
    model = _logistic_regression().fit(scaled(embeddings_MD, centre_D), targets_M)
    weights_KD, bias_K = model.coef_, model.intercept_
    if n_seen == 2:  # scikit-learn keeps the second class's side only
        weights_KD = np.concatenate([np.zeros_like(weights_KD), weights_KD])
        bias_K = np.concatenate([np.zeros_like(bias_K), bias_K])
    return centre_D, weights_KD.T.astype(np.float32), bias_K.astype(np.float32)


def _logistic_regression() -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=INVERSE_REGULARISATION, max_iter=MAX_ITERATIONS)


def _taken_over(
    previous: Head | None,
    seen_K: NDArray[np.int64],
    n_labels: int,
    unseen_M: NDArray[np.bool_] | None,
) -> _Calibration | None:
    """Take the last calibration over while the labels have hardly grown (or shrunk)."""
    if previous is None or not np.array_equal(previous.classes_seen_K, seen_K):
        return None
    if previous.calibrated_on_unseen != (unseen_M is not None):
        return None  # on another kind of rows, however many
    n_labels = n_labels if unseen_M is None else int(unseen_M.sum())
    last = previous.calibrated_on
    if last == 0 or not last / GROWTH_TO_CALIBRATE < n_labels < last * GROWTH_TO_CALIBRATE:
        return None
    return _Calibration(previous.temperature, last, previous.oof_accuracy)


def _calibrate(
    embeddings_MD: NDArray[np.float32],
    targets_M: NDArray[np.int64],
    n_seen: int,
    n_classes: int,
    seed: int,
    unseen_M: NDArray[np.bool_] | None,
    temperature_start: float,
) -> _Calibration:
    """Choose the temperature that makes labels out of fold likeliest (Guo et al. 2017)."""
    judging_M = np.ones(len(targets_M), bool) if unseen_M is None else unseen_M
    n_judging = int(judging_M.sum())
    if n_seen == 1 or n_judging < LABELS_PER_CLASS_TO_CALIBRATE * n_classes:
        return _Calibration(temperature_start, 0, None)
    logits_MK = _logits_out_of_fold(embeddings_MD, targets_M, n_seen, seed)[judging_M]
    targets_M = targets_M[judging_M]
    accuracy = float((logits_MK.argmax(axis=1) == targets_M).mean())
    own_M = logits_MK[np.arange(n_judging), targets_M]
    tellable_M = np.isfinite(own_M)  # a class's only label is in no other fold
    temperature = _likeliest_temperature(logits_MK[tellable_M], own_M[tellable_M])
    return _Calibration(temperature, n_judging, accuracy)


def _logits_out_of_fold(
    embeddings_MD: NDArray[np.float32], targets_M: NDArray[np.int64], n_seen: int, seed: int
) -> NDArray[np.float64]:
    """Score each label by a head that was fitted without it; -inf for classes that it never saw."""
    logits_MK = np.full((len(targets_M), n_seen), -np.inf)
    fold_M = stratified_folds(targets_M, seed, FOLDS)
    for fold in range(FOLDS):
        held_out_M = fold_M == fold
        kept_MD, kept_M = embeddings_MD[~held_out_M], targets_M[~held_out_M]
        known, local_M = np.unique(kept_M, return_inverse=True)
        centre_D, weights_DK, bias_K = _fit(kept_MD, local_M, len(known))
        scores = scaled(embeddings_MD[held_out_M], centre_D) @ weights_DK + bias_K
        logits_MK[np.ix_(held_out_M, known)] = scores
    return logits_MK


def stratified_folds(targets_M: NDArray[np.int64], seed: int, n_folds: int) -> NDArray[np.int64]:
    """Deal each class out over folds 0 to n_folds - 1, going on where the class before ended."""
    shuffled = np.random.default_rng(seed).permutation(len(targets_M))
    by_class = shuffled[np.argsort(targets_M[shuffled], kind="stable")]
    fold_M = np.empty(len(targets_M), np.int64)
    fold_M[by_class] = np.arange(len(targets_M)) % n_folds
    return fold_M


def _likeliest_temperature(logits_MK: NDArray[np.float64], own_M: NDArray[np.float64]) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    def negative_log_likelihood(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((logsumexp(logits_MK * inverse, axis=1) - own_M * inverse).mean())

    found = minimize_scalar(
        negative_log_likelihood, bounds=tuple(np.log(TEMPERATURE_RANGE)), method="bounded"
    )
    return float(np.exp(found.x))


def _softmax(logits_NK: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    return np.asarray(shifted_NK / shifted_NK.sum(axis=1, keepdims=True), dtype=np.float32)
