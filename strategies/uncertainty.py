"""How unsure a model is of each task: higher is more unsure, always in [0, 1].

Knows probabilities alone. Each function takes probs_NC (rows summing to 1) and returns a value per
row; zeros where there is only one class, since nothing can be mistaken then.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from ml_backend.errors import UnknownStrategy
from strategies.arrays import FloatArray, IntArray

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
NAMES = (*UNCERTAINTIES, RANDOM)


def score(
    name: str, probs_NC: FloatArray | None, n_rows: int, rng: np.random.Generator
) -> FloatArray | None:
    """Return the uncertainty called `name` per row, or None where it needs a model and has none.

    Raises UnknownStrategy.
    """
    if name not in NAMES:
        raise UnknownStrategy(f"uncertainty={name!r} does not exist; there is {', '.join(NAMES)}")
    if name == RANDOM:
        return rng.random(n_rows)
    return None if probs_NC is None else UNCERTAINTIES[name](probs_NC)


def two_likeliest(probs_KC: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the class indices (K, 2) and their probabilities (K, 2), likeliest first.

    With one class there is one column instead of two.
    """
    classes_K2 = np.argsort(-probs_KC, axis=1, kind="stable")[:, :2]
    return classes_K2, np.take_along_axis(probs_KC, classes_K2, axis=1)
