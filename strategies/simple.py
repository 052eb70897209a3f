"""Strategies that sort the whole pool by one number a task: fast, and blind to repetition."""

from __future__ import annotations

import numpy as np

from strategies import uncertainty as uncertainties
from strategies.arrays import FloatArray, IntArray
from strategies.query import Picks, Query


def random(query: Query) -> Picks:
    """Order the pool at random, from the given generator."""
    return Picks(query.rng.permutation(query.size))


def top_n(query: Query, *, uncertainty: str = "margin") -> Picks:
    """Order the pool by uncertainty, most unsure first; ties go to the lower task id."""
    unsure_N = uncertainties.score(uncertainty, query.candidates.probs_NC, query.size, query.rng)
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


def most_unsure_first(unsure_N: FloatArray) -> IntArray:
    """Return the rows by falling uncertainty; equal ones in their order."""
    return np.argsort(-unsure_N, kind="stable")
