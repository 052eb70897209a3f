"""Which labeled rows the network learns from, which it is judged by, and in what order they come.

Knows labels and seeds; no pictures and no torch. Everything follows from (seed, epoch): the same
call gives the same answer in another process or after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.recipe import ClassBalance, Recipe

_SPLIT, _ORDER = 1, 2  # streams of the seed


def split(
    labels_N: NDArray[np.int64], hashes: Sequence[str], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Deal rows out to training and validation, class by class; both sorted.

    Every class keeps a row to learn from. Equal pictures stay on one side, the training's.
    """
    rng = np.random.default_rng([seed, _SPLIT])
    validates_N = np.zeros(len(labels_N), bool)
    owed = 0.0  # fractions of a row go on to the next class, so that the share holds overall
    for label in np.unique(labels_N):
        rows = rng.permutation(np.flatnonzero(labels_N == label))
        owed += share * len(rows)
        taken = min(int(owed + 1e-9), len(rows) - 1)
        owed = min(owed - taken, 1.0)
        validates_N[rows[:taken]] = True
    learned = {hashes[row] for row in np.flatnonzero(~validates_N)}
    for row in np.flatnonzero(validates_N):
        validates_N[row] = hashes[row] not in learned
    return np.flatnonzero(~validates_N), np.flatnonzero(validates_N)


def steps_of_epoch(
    labels_N: NDArray[np.int64], training: NDArray[np.int64], recipe: Recipe, epoch: int
) -> list[NDArray[np.int64]]:
    """Shuffle the training rows and cut them into batches of nearly equal length.

    Equal instead of full ones with a rest: a step on two pictures is as long as one on thirty-two.
    """
    rng = np.random.default_rng([recipe.seed, _ORDER, epoch])
    if recipe.class_balance == "sampler":
        weight_C = class_weights(labels_N[training], int(labels_N.max()) + 1, "sampler")
        odds = weight_C[labels_N[training]].astype(np.float64)
        order = rng.choice(training, len(training), p=odds / odds.sum())
    else:
        order = rng.permutation(training)
    return np.array_split(order, -(-len(order) // recipe.batch_size))


def class_weights(
    labels_M: NDArray[np.int64], n_classes: int, balance: ClassBalance
) -> NDArray[np.float32]:
    """Weigh classes by 1 / sqrt(count), (C), with a mean of 1 over the labels; all 1 for "none".

    The root: a class of 2 among 200 counts seven times as much as a common one, not a hundred.
    """
    if balance == "none":
        return np.ones(n_classes, np.float32)
    counts_C = np.bincount(labels_M, minlength=n_classes)
    weights_C = 1 / np.sqrt(np.maximum(counts_C, 1))
    return np.asarray(weights_C / weights_C[labels_M].mean(), np.float32)
