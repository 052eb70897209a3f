"""How much a task counts beside its uncertainty: class balance, and what the caller says.

Every strategy multiplies what it maximises by the weight of the task: an uncertainty, a distance,
a share of coverage. Weights lie in (0, 1].
"""

from __future__ import annotations

import math

import numpy as np

from ml_backend.errors import ConfigurationError
from strategies.arrays import Candidates, FloatArray, Labeled


def task_weights(
    candidates: Candidates, labeled: Labeled, class_balance: float
) -> FloatArray | None:
    """Return the weights of the pool, the largest 1, or None where all weigh the same.

    class_balance: 0 for none; 1 makes a task of a class with four times the labels (one added)
    count a quarter. Raises ConfigurationError.
    """
    is_number = isinstance(class_balance, (int, float))
    if not is_number or not 0 <= class_balance < math.inf:
        raise ConfigurationError(f"class_balance={class_balance!r}: expected a number >= 0")
    weights_N = candidates.weights_N
    if class_balance and candidates.probs_NC is not None and len(labeled):
        balance_N = rarity(candidates.probs_NC, labeled, float(class_balance))
        weights_N = balance_N if weights_N is None else weights_N * balance_N
    if weights_N is None or not weights_N.size:
        return None
    return np.asarray(weights_N / weights_N.max(), dtype=np.float32)


def rarity(probs_NC: FloatArray, labeled: Labeled, power: float) -> FloatArray:
    """Return per task the mean of 1 / (labels of a class + 1)^power over its likely classes.

    The mean is weighted by the probabilities; with several labels a task, by their shares.
    """
    rarity_C = (labeled.class_counts(probs_NC.shape[1]) + 1.0) ** -power
    total_N = probs_NC.sum(axis=1, dtype=np.float64)
    shares_N = probs_NC @ rarity_C / np.where(total_N > 0, total_N, 1.0)
    return np.where(total_N > 0, shares_N, rarity_C.mean())
