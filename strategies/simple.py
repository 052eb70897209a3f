"""Strategies that sort the whole pool by one number a task: fast, and blind to repetition."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strategies import dropout, laplace
from strategies import uncertainty as uncertainties
from strategies.arrays import Candidates, FloatArray, IntArray, Labeled
from strategies.query import Picks, Query


def random(query: Query) -> Picks:
    """Order the pool at random; where tasks weigh, the heavier sooner (Efraimidis, Spirakis)."""
    if query.weights_N is None:
        return Picks(query.rng.permutation(query.size))
    waiting_N = query.rng.exponential(size=query.size) / query.weights_N
    return Picks(np.argsort(waiting_N, kind="stable"))


def top_n(query: Query, *, uncertainty: str = "margin") -> Picks:
    """Order the pool by uncertainty, most unsure first; ties go to the lower task id."""
    unsure_N = query.uncertainty(uncertainty)
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    return Picks(most_unsure_first(unsure_N), unsure_N)


def least_confidence(query: Query) -> Picks:
    """Order by how far the likeliest class is from certain."""
    return top_n(query, uncertainty="least_confidence")


def margin(query: Query) -> Picks:
    """Order by how close the two likeliest classes are."""
    return top_n(query, uncertainty="margin")


def entropy(query: Query) -> Picks:
    """Order by the entropy of the class distribution."""
    return top_n(query, uncertainty="entropy")


def bald(
    query: Query,
    *,
    posterior: str = laplace.NAME,
    samples: int = laplace.SAMPLES,
    prior_precision: float = laplace.PRIOR_PRECISION,
    rate: float = dropout.RATE,
) -> Picks:
    """Order by what samples of the model disagree about; see `uncertainty.bald`.

    Where the caller gives no mc_probs_TNC: posterior says where `samples` of them come from.
    prior_precision: of "laplace". rate: of "dropout".
    """

    def drawn(
        candidates: Candidates, labeled: Labeled, rng: np.random.Generator
    ) -> Iterator[FloatArray]:
        if posterior == dropout.NAME:
            return dropout.samples(candidates, rng, n_samples=samples, rate=rate)
        return laplace.samples(
            candidates, labeled, rng, n_samples=samples, prior_precision=prior_precision
        )

    unsure_N = uncertainties.disagreement(query.candidates, query.labeled, query.rng, samples=drawn)
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    unsure_N = query.weighted(unsure_N)
    return Picks(most_unsure_first(unsure_N), unsure_N)


def power(query: Query, *, uncertainty: str = "margin", beta: float = 1.0) -> Picks:
    """Draw without replacement, each task with probability in proportion to uncertainty^beta.

    The scores log u * beta + Gumbel noise, sorted, are such a draw of the whole pool. Kirsch et
    al., Stochastic Batch Acquisition, TMLR 2023 (with uncertainty="bald": PowerBALD).
    """
    unsure_N = query.uncertainty(uncertainty)
    assert unsure_N is not None  # the table answers with the cold start where there is no model
    logs_N = np.log(np.maximum(unsure_N, np.finfo(np.float32).tiny, dtype=np.float64))
    noisy_N = beta * logs_N + query.rng.gumbel(size=query.size)
    return Picks(most_unsure_first(noisy_N), unsure_N)


def most_unsure_first(unsure_N: FloatArray) -> IntArray:
    """Return the rows by falling uncertainty; equal ones in their order."""
    return np.argsort(-unsure_N, kind="stable")
