"""How unsure a model is of each task: higher is more unsure, always in [0, 1].

Knows probabilities alone. Each function takes probs_NC (rows summing to 1) and returns a value per
row; zeros where there is only one class, since nothing can be mistaken then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MappingProxyType

import numpy as np

from ml_backend.errors import UnknownStrategy, UnrankableInput
from strategies import laplace
from strategies.arrays import Candidates, FloatArray, IntArray, Labeled

CERTAIN = 0.02  # below this the model is sure; also the least weight that a region keeps


def least_confidence(probs_NC: FloatArray) -> FloatArray:
    """Return (1 - p1) C / (C - 1): 0 for a sure answer, 1 for the uniform distribution.

    Lewis and Gale, 1994; scaled as scikit-activeml does, so that C does not matter.
    """
    n_classes = probs_NC.shape[1]
    if n_classes < 2:
        return np.zeros(len(probs_NC), dtype=np.float32)
    doubt_N: FloatArray = (1.0 - probs_NC.max(axis=1)) * (n_classes / (n_classes - 1))
    return np.clip(doubt_N, 0.0, 1.0)


def margin(probs_NC: FloatArray) -> FloatArray:
    """Return 1 - (p1 - p2): 1 where the two likeliest classes tie. Scheffer et al., 2001."""
    n_classes = probs_NC.shape[1]
    if n_classes < 2:
        return np.zeros(len(probs_NC), dtype=np.float32)
    top_N2 = np.partition(probs_NC, n_classes - 2, axis=1)[:, n_classes - 2 :]
    doubt_N: FloatArray = 1.0 - (top_N2[:, 1] - top_N2[:, 0])
    return np.clip(doubt_N, 0.0, 1.0)


def entropy(probs_NC: FloatArray) -> FloatArray:
    """Return -sum p log p / log C, with 0 log 0 = 0. Shannon, 1948; Settles, 2009."""
    n_classes = probs_NC.shape[1]
    if n_classes < 2:
        return np.zeros(len(probs_NC), dtype=np.float32)
    logs_NC = np.log(np.where(probs_NC > 0, probs_NC, 1.0))
    shares_N: FloatArray = -(probs_NC * logs_NC).sum(axis=1) / float(np.log(n_classes))
    return np.clip(shares_N, 0.0, 1.0)


UNCERTAINTIES: MappingProxyType[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {"least_confidence": least_confidence, "margin": margin, "entropy": entropy}
)
RANDOM = "random"  # the seed's fourth: a value that the model has no part in
BALD = "bald"  # of several samples of the model, not of one answer
NAMES = (*UNCERTAINTIES, BALD, RANDOM)
Samples = Callable[[Candidates, Labeled, np.random.Generator], Iterable[FloatArray]]


def score(
    name: str, candidates: Candidates, labeled: Labeled, rng: np.random.Generator
) -> FloatArray | None:
    """Return the uncertainty called `name` per row, or None where it needs a model and has none.

    Raises UnknownStrategy; UnrankableInput where "bald" has neither samples nor `predict`.
    """
    if name not in NAMES:
        raise UnknownStrategy(f"uncertainty={name!r} does not exist; there is {', '.join(NAMES)}")
    if name == RANDOM:
        return rng.random(len(candidates))
    if name == BALD:
        return disagreement(candidates, labeled, rng)
    if candidates.probs_NC is None:
        return None
    if candidates.multi_label:
        return per_label(UNCERTAINTIES[name], candidates.probs_NC)
    return UNCERTAINTIES[name](candidates.probs_NC)


def per_label(formula: Callable[[FloatArray], FloatArray], probs_NC: FloatArray) -> FloatArray:
    """Return the mean over the labels, each a question of its own with the answers yes and no.

    The mean, and not the largest: one noisy label would decide. For least confidence it is twice
    the share of labels that the model is expected to get wrong.
    """
    n_rows, n_labels = probs_NC.shape
    unsure_N = np.zeros(n_rows)
    for label in range(n_labels):
        yes_N = np.clip(probs_NC[:, label], 0.0, 1.0)
        unsure_N += formula(np.stack([yes_N, 1.0 - yes_N], axis=1))
    return unsure_N / n_labels


def disagreement(
    candidates: Candidates,
    labeled: Labeled,
    rng: np.random.Generator,
    *,
    samples: Samples = laplace.samples,
) -> FloatArray | None:
    """Return BALD over the given samples of the model, or else over those that `samples` draws.

    None while there is no model. Raises UnrankableInput where samples can be had from nowhere.
    """
    if candidates.mc_probs_TNC is not None:
        return bald(candidates.mc_samples(), candidates.multi_label)
    if candidates.probs_NC is None:
        return None
    if candidates.predict is None or candidates.embeddings_ND is None:
        raise UnrankableInput("bald needs mc_probs_TNC, or predict with embeddings_ND")
    return bald(samples(candidates, labeled, rng), candidates.multi_label)


def bald(samples_TNC: Iterable[FloatArray], multi_label: bool = False) -> FloatArray:
    """Return H(mean_t p_t) - mean_t H(p_t), H in units of log C: what the samples disagree about.

    Houlsby et al., 2011; Gal, Islam, Ghahramani, 2017. Reads one sample at a time and holds none.
    With several labels a task: the mean over the labels.
    """
    n_samples = 0
    summed_NC: FloatArray = np.empty((0, 0))
    entropies_N: FloatArray = np.empty(0)
    for probs_NC in samples_TNC:
        if not n_samples:
            summed_NC, entropies_N = np.zeros(probs_NC.shape), np.zeros(len(probs_NC))
        if probs_NC.shape != summed_NC.shape:
            raise UnrankableInput(
                f"mc_probs_TNC[{n_samples}] has shape {probs_NC.shape}: expected {summed_NC.shape}"
            )
        summed_NC += probs_NC
        entropies_N += _entropy(probs_NC, multi_label)
        n_samples += 1
    if not n_samples:
        raise UnrankableInput("mc_probs_TNC holds no sample")
    gained_N = _entropy(summed_NC / n_samples, multi_label) - entropies_N / n_samples
    return np.clip(gained_N, 0.0, 1.0)


def _entropy(probs_NC: FloatArray, multi_label: bool) -> FloatArray:
    return per_label(entropy, probs_NC) if multi_label else entropy(probs_NC)


def two_likeliest(probs_KC: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the class indices (K, 2) and their probabilities (K, 2), likeliest first.

    With one class there is one column instead of two.
    """
    classes_K2 = np.argsort(-probs_KC, axis=1, kind="stable")[:, :2]
    return classes_K2, np.take_along_axis(probs_KC, classes_K2, axis=1)


def two_least_sure(probs_KC: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the two classes whose probabilities are nearest to a half, and these, (K, 2) each."""
    classes_K2 = np.argsort(np.abs(probs_KC - 0.5), axis=1, kind="stable")[:, :2]
    return classes_K2, np.take_along_axis(probs_KC, classes_K2, axis=1)
