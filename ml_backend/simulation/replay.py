"""One replay: label along a strategy's ranking, and measure the head on images held out.

Knows embeddings, labels, strategies and the head; no files, no processes. What a seed decides: the
split into pool and test, and every random number of the strategy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.head import Head, fit_head
from strategies import STRATEGIES, Candidates, Labeled, rank

TEST_SHARE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class LabeledSet:
    """Labeled images as one backbone sees them: rows run in parallel, labels number classes."""

    classes: tuple[str, ...]
    labels_N: NDArray[np.int64]
    embeddings_ND: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Contender:
    """Who takes part in a comparison: a strategy with its parameters, under a label of its own."""

    label: str
    strategy: str
    parameters: tuple[tuple[str, Any], ...] = ()
    cold: str = ""  # the strategy of the first batch, where it is not the strategy's own cold start


@dataclass(frozen=True, slots=True)
class Curve:
    """What one replay gave: accuracy on the test images, in [0, 1], after each budget of labels.

    `rank_s` and `fit_s` are what each round cost, in seconds of one core.
    """

    budgets: tuple[int, ...]
    accuracies: tuple[float, ...]
    rank_s: tuple[float, ...]
    fit_s: tuple[float, ...]


def replay(
    images: LabeledSet,
    contender: Contender,
    budgets: Sequence[int],
    seed: int,
    *,
    test_share: float = TEST_SHARE,
    clock: Callable[[], float] = time.process_time,
) -> Curve:
    """Start with nothing labeled; rank anew and label on up to each of the rising budgets.

    Raises UnknownStrategy and ConfigurationError for a contender that cannot be.
    """
    pool_P, test_T = split(images.labels_N, seed, test_share)
    labeled_M: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # rows of the set
    accuracies, ticks, head = [], [clock()], None
    for budget in budgets:
        open_rows = np.setdiff1d(pool_P, labeled_M)
        step = budget - len(labeled_M)
        order = ranked(images, contender, open_rows, labeled_M, head, step, seed)
        ticks.append(clock())
        labeled_M = np.concatenate([labeled_M, open_rows[order[:step]]])
        head = fitted(images, labeled_M, head, seed)
        ticks.append(clock())
        accuracies.append(accuracy(images, head, test_T))
    spent = np.diff(ticks)
    return Curve(
        tuple(budgets), tuple(accuracies), tuple(spent[::2].tolist()), tuple(spent[1::2].tolist())
    )


def split(
    labels_N: NDArray[np.int64], seed: int, test_share: float = TEST_SHARE
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the pool and of the test, which has its share of each class."""
    rng = np.random.default_rng(seed)
    test = [
        rng.permutation(rows)[: round(test_share * len(rows))]
        for rows in (np.flatnonzero(labels_N == label) for label in np.unique(labels_N))
    ]
    test_T = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels_N)), test_T), test_T


def ranked(
    images: LabeledSet,
    contender: Contender,
    open_rows: NDArray[np.int64],
    labeled_M: NDArray[np.int64],
    head: Head | None,
    step: int,
    seed: int,
) -> NDArray[np.int64]:
    """Let the contender order the open rows for `step` labels: indices into `open_rows`."""
    embeddings_ND = images.embeddings_ND
    parameters = dict(contender.parameters)
    if contender.strategy == "clustering":
        parameters["batch"] = step  # the seed shares out a whole round at once
    name = contender.cold if contender.cold and head is None else contender.strategy
    if "budget" in STRATEGIES[name].parameters:
        parameters["budget"] = step  # those that choose a set are told for how many labels
    ranking = rank(
        name,
        Candidates(
            open_rows,
            None if head is None else head.probs(embeddings_ND[open_rows]),
            embeddings_ND[open_rows],
            predict=None if head is None else head.probs,
        ),
        Labeled(embeddings_ND[labeled_M], images.labels_N[labeled_M]),
        head=step,
        rng=np.random.default_rng([seed, len(labeled_M)]),
        **parameters,
    )
    return ranking.order


def fitted(
    images: LabeledSet, labeled_M: NDArray[np.int64], previous: Head | None, seed: int
) -> Head | None:
    """Fit the live loop's head on these rows."""
    return fit_head(
        images.embeddings_ND[labeled_M],
        images.labels_N[labeled_M],
        len(images.classes),
        previous=previous,
        seed=seed,
    )


def accuracy(images: LabeledSet, head: Head | None, rows: NDArray[np.int64]) -> float:
    """Return the share of these rows that the head gets right."""
    if head is None:
        return 0.0
    said = head.probs(images.embeddings_ND[rows]).argmax(axis=1)
    return float((said == images.labels_N[rows]).mean())
