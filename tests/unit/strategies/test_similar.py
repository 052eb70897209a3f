"""Search by example."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.errors import ConfigurationError, UnrankableInput
from strategies import Candidates, Labeled, rank

# Unit vectors at these angles, in degrees: the pool's mean is (0, 0).
ANGLES = np.array([0, 90, 180, 270, 10, 190])


def at(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def search(labeled: Labeled, **parameters: object) -> list[int]:
    pool = Candidates(np.arange(6), None, at(*ANGLES))
    ranking = rank("similar", pool, labeled, head=6, rng=np.random.default_rng(0), **parameters)
    return ANGLES[ranking.order].tolist()


def test_nearest_to_any_example_comes_first() -> None:
    found = search(Labeled.none(2), examples_KD=at(8, 185))
    assert found[:4] == [10, 190, 180, 0]  # 2, 5, 5 and 8 degrees away, but for the centring


def test_without_examples_the_classes_that_are_labeled_take_turns() -> None:
    labeled = Labeled(at(0, 182), np.array([0, 1]))
    found = search(labeled)
    assert set(found[:2]) == {0, 180}
    assert set(found[2:4]) == {10, 190}


def test_examples_of_another_backbone_are_refused() -> None:
    with pytest.raises(UnrankableInput, match=r"examples_KD has shape \(1, 3\): expected .* 2\)"):
        search(Labeled.none(2), examples_KD=np.ones((1, 3)))
    with pytest.raises(ConfigurationError, match="examples_KD"):
        search(Labeled.none(2), examples_KD=np.full((1, 2), np.nan))
