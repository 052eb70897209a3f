"""Explanations: true of each place, not of the head alone."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.errors import UnrankableInput
from strategies import Candidates, Labeled, explain, rank, repair


def test_each_part_of_the_order_says_what_it_is() -> None:
    p1_N = 1 - np.array([1.0, 0.9, 0.01, 0.8]) / 2
    pool = Candidates(np.arange(4), np.stack([p1_N, 1 - p1_N], axis=1), np.eye(4, dtype=np.float32))
    ranking = rank(
        "iterative_proximity",
        pool,
        Labeled(np.eye(4)[1:2] * 5, np.array([0])),  # task 1, at another brightness
        head=1,
        rng=np.random.default_rng(0),
        clusters_N=np.arange(4),
    )
    kinds = {row: explain(ranking, row).reason.kind for row in range(4)}
    assert kinds == {0: "uncertain", 3: "turn", 2: "certain", 1: "repeats"}
    assert explain(ranking, 3).place == 1
    assert explain(ranking, 3).text(["cat", "dog"]) == (
        "Place 2 of 4. Comes when its part of the pool has its turn; the model hesitates between "
        "cat (60 %) and dog (40 %). Likeness to what is labeled: -0.49."
    )
    assert explain(ranking, 1).likeness == pytest.approx(1.0)
    assert explain(repair(ranking, [3]), 3).reason.kind == "covered"


def test_nearest_labeled_task_is_named() -> None:
    pool = Candidates(np.arange(3), None, np.eye(3))
    labeled = Labeled(np.eye(3)[[2, 0]], np.array([1, 0]))
    ranking = rank("maxherding", pool, labeled, rng=np.random.default_rng(0))
    assert [explain(ranking, row).nearest_labeled for row in (0, 2)] == [1, 0]


def test_rows_are_the_caller_s() -> None:
    embeddings_ND = np.random.default_rng(0).normal(size=(9, 4))
    pool = Candidates(np.arange(9)[::-1], None, embeddings_ND)
    ranking = rank("maxherding", pool, Labeled.none(4), head=9, rng=np.random.default_rng(0))
    assert [explain(ranking, row).place for row in ranking.order] == list(range(9))
    labeled = Labeled(embeddings_ND[:1], np.array([0]))
    ranking = rank("maxherding", pool, labeled, rng=np.random.default_rng(0))
    assert explain(ranking, 0).likeness == pytest.approx(1.0)


def test_without_embeddings_or_labels_there_is_no_likeness() -> None:
    pool = Candidates(np.arange(3), np.full((3, 2), 0.5), None)
    ranking = rank("margin", pool, Labeled.none(), rng=np.random.default_rng(0))
    assert explain(ranking, 1).likeness is None
    assert "Likeness" not in explain(ranking, 1).text()
    with pytest.raises(UnrankableInput, match="row 3"):
        explain(ranking, 3)
