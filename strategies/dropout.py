"""What the model would say with some features left out: samples of it, for the price of the head.

Knows a `predict` function and embeddings. With a frozen backbone the head is all that is trained,
so dropout on its inputs gives the samples that BALD and DropQuery ask for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ml_backend.errors import UnrankableInput
from strategies.arrays import Candidates, FloatArray, checked_probs

NAME = "dropout"
RATE = 0.5
_BLOCK_ROWS = 8192
_STEPS = 256  # a random byte a feature: ten times cheaper than a random float


def samples(
    candidates: Candidates, rng: np.random.Generator, *, n_samples: int, rate: float
) -> Iterator[FloatArray]:
    """Yield `n_samples` times the probabilities (N, C) under feature dropout."""
    for _ in range(n_samples):
        yield dropped_probs(candidates, rng, rate)


def dropped_probs(candidates: Candidates, rng: np.random.Generator, rate: float) -> FloatArray:
    """Return the probabilities (N, C) with each feature left out at `rate`, the others scaled up.

    Left out means: replaced by its mean over the pool, and scaled around it, as where dropout
    follows a batch normalisation (DropQuery's head does). A zero says much where a feature is
    never near zero: with zeros DropQuery gained 3 points over random on TrashNet, with the mean 5.
    `rate` is rounded to a multiple of 1/256. Raises UnrankableInput.
    """
    embeddings_ND = candidates.embeddings_ND
    assert embeddings_ND is not None  # the table has seen to it
    dropped = min(round(rate * _STEPS), _STEPS - 1)
    mean_D = embeddings_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    blocks = []
    for start in range(0, len(candidates), _BLOCK_ROWS):
        rows_KD = embeddings_ND[start : start + _BLOCK_ROWS].astype(np.float32)
        kept_KD = rng.integers(_STEPS, size=rows_KD.shape, dtype=np.uint8) >= dropped
        rows_KD -= mean_D
        rows_KD *= kept_KD
        rows_KD *= _STEPS / (_STEPS - dropped)
        rows_KD += mean_D
        blocks.append(predicted(candidates, rows_KD))
    return np.concatenate(blocks)


def predicted(candidates: Candidates, embeddings_KD: FloatArray) -> FloatArray:
    """Return what the caller's `predict` says, checked. Raises UnrankableInput."""
    if candidates.predict is None:
        raise UnrankableInput("predict is None: this needs the head, embeddings to probabilities")
    probs_KC = checked_probs(
        "predict's answer",
        candidates.predict(embeddings_KD),
        len(embeddings_KD),
        candidates.multi_label,
    )
    probs_NC = candidates.probs_NC
    if probs_NC is not None and probs_KC.shape[1] != probs_NC.shape[1]:
        raise UnrankableInput(
            f"predict gives {probs_KC.shape[1]} columns where probs_NC has {probs_NC.shape[1]}"
        )
    return probs_KC
