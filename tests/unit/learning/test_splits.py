"""Who is learned from, who judges, and in what order."""

from __future__ import annotations

import numpy as np

from ml_backend.learning.recipe import Recipe
from ml_backend.learning.splits import class_weights, split, steps_of_epoch


def names(n: int) -> list[str]:
    return [str(number) for number in range(n)]


def test_every_class_gives_its_share_and_keeps_a_row_to_learn_from() -> None:
    labels_N = np.array([0] * 20 + [1] * 10 + [2] * 2 + [3])
    training, validating = split(labels_N, names(33), 0.2, seed=0)
    assert np.bincount(labels_N[validating], minlength=4).tolist() == [4, 2, 0, 0]
    assert set(labels_N[training]) == {0, 1, 2, 3}
    assert sorted([*training, *validating]) == list(range(33))


def test_fractions_of_a_row_add_up_over_classes() -> None:
    labels_N = np.repeat(np.arange(10), 5)
    assert len(split(labels_N, names(50), 0.1, seed=0)[1]) == 5


def test_the_seed_alone_decides_the_split() -> None:
    labels_N = np.arange(60) % 3
    one, same, other = (split(labels_N, names(60), 0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_equal_pictures_do_not_judge_what_learned_from_them() -> None:
    labels_N = np.arange(40) % 2
    _, validating = split(labels_N, ["twin"] * 40, 0.25, seed=0)
    assert len(validating) == 0


def test_an_epoch_shows_every_row_once_in_batches_of_nearly_one_length() -> None:
    recipe = Recipe(batch_size=8)
    steps = steps_of_epoch(np.zeros(21, np.int64), np.arange(21), recipe, epoch=1)
    assert [len(step) for step in steps] == [7, 7, 7]
    assert sorted(np.concatenate(steps)) == list(range(21))


def test_the_order_differs_by_epoch_and_is_the_same_again() -> None:
    labels_N, rows, recipe = np.zeros(30, np.int64), np.arange(30), Recipe()
    one, same, two = (
        np.concatenate(steps_of_epoch(labels_N, rows, recipe, epoch)).tolist()
        for epoch in (1, 1, 2)
    )
    assert one == same != two


def test_a_rare_class_weighs_by_the_root_of_its_count() -> None:
    labels_M = np.array([0] * 16 + [1] * 4)
    weights_C = class_weights(labels_M, 3, "loss")
    assert np.isclose(weights_C[1] / weights_C[0], 2)
    assert np.isclose(weights_C[labels_M].mean(), 1)
    assert class_weights(labels_M, 3, "none").tolist() == [1, 1, 1]


def test_the_sampler_shows_a_rare_class_more_often() -> None:
    labels_N = np.array([0] * 900 + [1] * 100)
    recipe = Recipe(class_balance="sampler")
    steps = steps_of_epoch(labels_N, np.arange(1000), recipe, epoch=1)
    share = labels_N[np.concatenate(steps)].mean()
    assert 0.2 < share < 0.3  # sqrt(100) to sqrt(900) is one to three
