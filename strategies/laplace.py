"""What the head might say instead: its weights are uncertain, as far as the labels leave them so.

Knows probabilities and embeddings; of the head only that its logits are linear in the direction of
an embedding. Around the weights that fit best the loss of M labels is taken for a bowl (Laplace),
and its curvature for a Kronecker product, with inputs z and answers p:

    sum_m z z' (x) (diag(p) - p p') + tau I  ~  A (x) G + tau I,
    A = sum_m z z',  G = mean_m (diag(p) - p p')

Ritter, Botev, Barber, A Scalable Laplace Approximation for Neural Networks, ICLR 2018; Daxberger et
al., Laplace Redux, NeurIPS 2021 (of the last layer only, and the prior added where A and G are
diagonal, which is exact: Ritter's square roots of it are not). With A = U a U' and G = V g V' the
logits of a task are Gaussian around log p, with the covariance

    V diag_c( sum_d (u_d'z)^2 / (a_d g_c + tau) ) V'

z is the unit direction around the pool's mean, and a 1 for the bias: so that tau means the same
whatever the scale of the embeddings, as in `bait` and `badge`, and as the head of the live loop
sees them. With several labels a task, each is a logistic regression of its own: G is the diagonal
matrix of the mean p (1 - p), and the logits are log p / (1 - p).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from strategies.arrays import Candidates, FloatArray, Labeled
from strategies.dropout import predicted
from strategies.geometry import Directions

NAME = "laplace"
SAMPLES = 20
PRIOR_PRECISION = 1 / 30  # of the live loop's head; anything from 0.03 to 10 ranks about as well
_BLOCK_ROWS = 2048
_SAID = 1e-3  # what the labels say of a direction, beside the prior, below which it is left out
_LEAST_PROB = 1e-6  # its logarithm stands for that of zero


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """The covariance of the logits, for any input z of D entries.

    inputs_DR: orthonormal directions of z that the labels say something about. answers_CC: the
    eigenvectors of G. learned_RC: by how much the labels lower the variance along each pair of
    both. unlearned: the variance of what they say nothing about, 1 / tau.
    """

    inputs_DR: FloatArray
    answers_CC: FloatArray
    learned_RC: FloatArray
    unlearned: float

    @classmethod
    def of(
        cls,
        inputs_MD: FloatArray,
        probs_MC: FloatArray,
        *,
        prior_precision: float,
        multi_label: bool,
    ) -> Posterior:
        """Take in what is labeled: the head's inputs and what it says of them; M may be 0."""
        inputs_MD = inputs_MD.astype(np.float64)
        a_D, axes_DD = np.linalg.eigh(inputs_MD.T @ inputs_MD)
        g_C, answers_CC = np.linalg.eigh(curvature(probs_MC, multi_label))
        said_DC = np.maximum(a_D, 0.0)[:, None] * np.maximum(g_C, 0.0)
        heard_D = said_DC.max(axis=1) > _SAID * prior_precision
        learned_RC = 1.0 / prior_precision - 1.0 / (said_DC[heard_D] + prior_precision)
        return cls(
            axes_DD[:, heard_D].astype(np.float32),
            answers_CC.astype(np.float32),
            learned_RC.astype(np.float32),
            1.0 / prior_precision,
        )

    def variances(self, inputs_ND: FloatArray) -> FloatArray:
        """Return the variance of each row's logits along each eigenvector of G: float32 (N, C)."""
        along_NR = inputs_ND @ self.inputs_DR
        squares_N = np.einsum("nd,nd->n", inputs_ND, inputs_ND)
        left_NC: FloatArray = self.unlearned * squares_N[:, None] - along_NR**2 @ self.learned_RC
        return np.maximum(left_NC, 0.0)


def curvature(probs_MC: FloatArray, multi_label: bool) -> FloatArray:
    """Return G, the mean second derivative of the loss by the logits: float64 (C, C)."""
    probs_MC = probs_MC.astype(np.float64)
    n_rows = max(len(probs_MC), 1)
    if multi_label:
        return np.diag((probs_MC * (1.0 - probs_MC)).sum(axis=0) / n_rows)
    return np.asarray((np.diag(probs_MC.sum(axis=0)) - probs_MC.T @ probs_MC) / n_rows)


def samples(
    candidates: Candidates,
    labeled: Labeled,
    rng: np.random.Generator,
    *,
    n_samples: int = SAMPLES,
    prior_precision: float = PRIOR_PRECISION,
) -> Iterator[FloatArray]:
    """Yield `n_samples` times the probabilities (N, C) as other weights might have it.

    Each row is a draw from its own logits' distribution, which is all that BALD asks for. All rows
    of a sample share the same C normal numbers: they cost nothing, and the noise of a sample moves
    tasks that are alike together instead of shuffling them. The rows of a sample are thus not
    those of one drawn head, and say nothing of how two tasks hang together.
    """
    probs_NC, multi_label = candidates.probs_NC, candidates.multi_label
    assert probs_NC is not None  # the caller has seen to it
    posterior, spread_NC = _spread(candidates, labeled, prior_precision)
    logits_NC = _logits(probs_NC, multi_label)
    for _ in range(n_samples):
        drawn_C = rng.standard_normal(logits_NC.shape[1], dtype=np.float32)
        drawn_NC = (spread_NC * drawn_C) @ posterior.answers_CC.T
        drawn_NC += logits_NC
        yield _probs(drawn_NC, multi_label)


def _spread(
    candidates: Candidates, labeled: Labeled, prior_precision: float
) -> tuple[Posterior, FloatArray]:
    """Return the posterior, and the standard deviations of the pool's logits (N, C)."""
    embeddings_ND, probs_NC = candidates.embeddings_ND, candidates.probs_NC
    assert embeddings_ND is not None
    assert probs_NC is not None
    labeled_MD, said_MC = embeddings_ND[:0], probs_NC[:0]
    if len(labeled):
        labeled_MD = labeled.embeddings_MD
        said_MC = predicted(candidates, labeled_MD)
    directions = Directions.of_pool(embeddings_ND, labeled_MD)
    posterior = Posterior.of(
        _with_bias(directions.of(labeled_MD)),
        said_MC,
        prior_precision=prior_precision,
        multi_label=candidates.multi_label,
    )
    spread_NC = np.empty(probs_NC.shape, dtype=np.float32)
    for start in range(0, len(candidates), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        inputs_BD = _with_bias(directions.of(embeddings_ND[block]))
        spread_NC[block] = np.sqrt(posterior.variances(inputs_BD))
    return posterior, spread_NC


def _with_bias(rows_ND: FloatArray) -> FloatArray:
    return np.pad(rows_ND, ((0, 0), (0, 1)), constant_values=1.0)


def _logits(probs_NC: FloatArray, multi_label: bool) -> FloatArray:
    """Return logits that give these probabilities, float32; of a softmax up to a constant a row."""
    clipped_NC = np.clip(probs_NC, _LEAST_PROB, 1.0 - _LEAST_PROB, dtype=np.float32)
    logits_NC: FloatArray = np.log(clipped_NC)
    return logits_NC - np.log1p(-clipped_NC) if multi_label else logits_NC


def _probs(logits_NC: FloatArray, multi_label: bool) -> FloatArray:
    """Return the softmax of each row, or the sigmoid of each entry; works in place."""
    if multi_label:
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits_NC))
    logits_NC -= logits_NC.max(axis=1, keepdims=True)
    shares_NC: FloatArray = np.exp(logits_NC, out=logits_NC)
    shares_NC /= shares_NC.sum(axis=1, keepdims=True)
    return shares_NC
