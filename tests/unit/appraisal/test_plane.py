"""The map lies in the unit square, whatever it is made of."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.appraisal.plane import lay_out
from tests.unit.appraisal.projects import blobs


def test_classes_that_lie_apart_do_so_on_the_map() -> None:
    points_ND, labels_N = blobs(300, seed=0, noise=0.1)
    spots_K2 = lay_out(points_ND)
    centres_C2 = np.array([spots_K2[labels_N == row].mean(axis=0) for row in range(3)])
    apart = min(np.linalg.norm(centres_C2[i] - centres_C2[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    within = max(spots_K2[labels_N == row].std(axis=0).max() for row in range(3))
    assert apart > 3 * within


@pytest.mark.parametrize("shape", [(0, 8), (1, 8), (5, 1), (2, 8), (3000, 4)])
def test_everything_lies_inside(shape: tuple[int, int]) -> None:
    spots_K2 = lay_out(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    assert spots_K2.shape == (shape[0], 2)
    assert ((spots_K2 >= 0) & (spots_K2 <= 1)).all()


def test_equal_images_lie_in_one_spot() -> None:
    assert np.ptp(lay_out(np.ones((10, 8), np.float32)), axis=0).tolist() == [0, 0]
