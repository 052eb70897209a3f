"""What every strategy promises, run over each row of the table."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from ml_backend.errors import ConfigurationError, UnknownStrategy, UnrankableInput
from strategies import STRATEGIES, Candidates, Labeled, Ranking, rank
from tests.unit.strategies.pools import blobs, linear_head, shuffled, some_probs

every_strategy = pytest.mark.parametrize("name", STRATEGIES)
with_and_without_model = pytest.mark.parametrize("model", [True, False], ids=["model", "no model"])


def ranked(
    name: str,
    candidates: Candidates,
    labeled: Labeled,
    head: int = 20,
    seed: int = 0,
    **more: object,
) -> Ranking:
    return rank(name, candidates, labeled, head=head, rng=np.random.default_rng(seed), **more)


def without_model(candidates: Candidates) -> Candidates:
    return replace(candidates, probs_NC=None, predict=None)


def with_head(ids_N: np.ndarray, probs_NC: np.ndarray | None, rows_ND: np.ndarray) -> Candidates:
    """Return a pool whose model, where there is one, can be asked about other embeddings."""
    if probs_NC is None:
        return Candidates(ids_N, None, rows_ND)
    head = linear_head(rows_ND.shape[1], probs_NC.shape[1])
    return Candidates(ids_N, probs_NC, rows_ND, predict=head)


def assert_total_order(ranking: Ranking, n: int, head: int) -> None:
    assert sorted(ranking.order.tolist()) == list(range(n))
    assert len(ranking.priority) == n
    assert (np.diff(ranking.priority) < 0).all()
    assert n == 0 or (ranking.priority[0] == 1 and ranking.priority[-1] >= 0)
    assert len(ranking.reasons) == min(head, n)
    assert all(reason.text(["cat", "dog", "ox", "yak"]) for reason in ranking.reasons)


@every_strategy
@with_and_without_model
def test_ranking_is_a_permutation_of_the_whole_pool(name: str, model: bool) -> None:
    candidates, labeled = blobs(150)
    candidates = candidates if model else without_model(candidates)
    assert_total_order(ranked(name, candidates, labeled if model else Labeled.none(8)), 150, 20)


@every_strategy
@with_and_without_model
def test_same_seed_gives_the_same_ranking(name: str, model: bool) -> None:
    candidates, labeled = blobs(150)
    candidates = candidates if model else without_model(candidates)
    first, again = (ranked(name, candidates, labeled, seed=3) for _ in range(2))
    assert first.order.tolist() == again.order.tolist()
    assert first.reasons == again.reasons


@every_strategy
@with_and_without_model
def test_order_of_the_rows_does_not_matter(name: str, model: bool) -> None:
    candidates, labeled = blobs(150)
    candidates = candidates if model else without_model(candidates)
    rows = np.random.default_rng(5).permutation(150)
    clusters_N = np.arange(150) % 7
    straight = ranked(name, candidates, labeled, clusters_N=clusters_N)
    mixed = ranked(name, shuffled(candidates, rows), labeled, clusters_N=clusters_N[rows])
    tasks = candidates.task_ids_N
    assert tasks[straight.order].tolist() == tasks[rows][mixed.order].tolist()
    if straight.uncertainty_N is not None and mixed.uncertainty_N is not None:
        assert straight.uncertainty_N[rows].tolist() == mixed.uncertainty_N.tolist()


@every_strategy
@with_and_without_model
def test_short_head_is_the_start_of_a_long_one(name: str, model: bool) -> None:
    candidates, labeled = blobs(400)
    candidates = candidates if model else without_model(candidates)
    short = ranked(name, candidates, labeled, head=50)
    long = ranked(name, candidates, labeled, head=200)
    assert short.order[:50].tolist() == long.order[:50].tolist()


@pytest.mark.parametrize("name", ["uherding", "maxherding"])
def test_short_head_is_the_start_of_a_long_one_where_the_pool_is_sampled(name: str) -> None:
    candidates, labeled = blobs(3000)
    less = {"max_candidates": 2200, "max_landmarks": 300}
    short = ranked(name, candidates, labeled, head=50, **less)
    long = ranked(name, candidates, labeled, head=200, **less)
    assert short.order[:50].tolist() == long.order[:50].tolist()


@every_strategy
def test_inputs_are_left_alone(name: str) -> None:
    candidates, labeled = blobs(60)
    arrays = (
        candidates.task_ids_N,
        candidates.probs_NC,
        candidates.embeddings_ND,
        labeled.embeddings_MD,
        labeled.labels_M,
    )
    for array in arrays:
        assert array is not None
        array.setflags(write=False)  # writing raises
    assert_total_order(ranked(name, candidates, labeled), 60, 20)


@pytest.mark.parametrize("name", [name for name, row in STRATEGIES.items() if row.diverse])
@with_and_without_model
def test_copies_wait_until_each_image_had_its_turn(name: str, model: bool) -> None:
    rng = np.random.default_rng(1)
    image_of_row = rng.permutation(np.repeat(np.arange(40), 5))
    images_ID = rng.normal(size=(40, 16)).astype(np.float32)
    probs_IC = some_probs(40, 4, rng)
    probs_NC = probs_IC[image_of_row] if model else None
    candidates = with_head(np.arange(200), probs_NC, images_ID[image_of_row])
    ranking = ranked(name, candidates, Labeled.none(16), head=40)
    assert len(set(image_of_row[ranking.order[:40]].tolist())) == 40


@every_strategy
def test_empty_pool_gives_an_empty_ranking(name: str) -> None:
    empty = with_head(np.empty(0, int), np.empty((0, 4)), np.empty((0, 8)))
    assert_total_order(ranked(name, empty, Labeled.none(8)), 0, 20)


@every_strategy
@with_and_without_model
def test_one_task_comes_first(name: str, model: bool) -> None:
    candidates, labeled = blobs(1)
    ranking = ranked(name, candidates if model else without_model(candidates), labeled)
    assert ranking.order.tolist() == [0]
    assert ranking.priority.tolist() == [1.0]


def degenerate_embeddings() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    some = rng.normal(size=(30, 8)).astype(np.float32)
    with_zeros = some.copy()
    with_zeros[::3] = 0
    return {
        "all the same": np.ones((30, 8), np.float32),
        "all zero": np.zeros((30, 8), np.float32),
        "some zero": with_zeros,
        "tiny": some * np.float32(1e-30),
        "huge": some * np.float32(1e18),
        "one column": some[:, :1],
        "halves": some.astype(np.float16),
        "doubles": some.astype(np.float64),
        "whole numbers": (some * 10).astype(np.int32),
    }


@every_strategy
@with_and_without_model
@pytest.mark.parametrize("case", degenerate_embeddings())
def test_degenerate_embeddings_are_ranked(name: str, model: bool, case: str) -> None:
    embeddings_ND = degenerate_embeddings()[case]
    probs_NC = some_probs(30, 4, np.random.default_rng(3)) if model else None
    candidates = with_head(np.arange(30), probs_NC, embeddings_ND)
    labeled = Labeled(embeddings_ND[:2], np.array([0, 0]))
    assert_total_order(ranked(name, candidates, labeled), 30, 20)


@every_strategy
@pytest.mark.parametrize(
    "probs_C",
    [[1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5], [1.0], [0.25] * 4],
    ids=["sure of two", "sure of three", "undecided", "only one class", "uniform"],
)
def test_extreme_probabilities_are_ranked(name: str, probs_C: list[float]) -> None:
    candidates, _ = blobs(30)
    assert candidates.embeddings_ND is not None
    probs_NC = np.tile(probs_C, (30, 1))
    candidates = with_head(candidates.task_ids_N, probs_NC, candidates.embeddings_ND)
    assert_total_order(ranked(name, candidates, Labeled.none(8)), 30, 20)


@every_strategy
def test_head_longer_than_the_pool_is_the_pool(name: str) -> None:
    candidates, labeled = blobs(30)
    assert_total_order(ranked(name, candidates, labeled, head=500), 30, 500)


@every_strategy
def test_no_model_is_answered_by_the_cold_start_that_the_table_names(name: str) -> None:
    candidates, _ = blobs(60)
    ranking = ranked(name, without_model(candidates), Labeled.none(8))
    row = STRATEGIES[name]
    assert ranking.strategy == (row.cold_start or name)
    assert ranking.cold_start == bool(row.cold_start)
    if row.cold_start:
        by_name = ranked(row.cold_start, without_model(candidates), Labeled.none(8))
        assert ranking.order.tolist() == by_name.order.tolist()
        assert "No model yet" in ranking.reasons[0].text()


@every_strategy
def test_foreign_parameter_is_refused_by_name(name: str) -> None:
    candidates, labeled = blobs(10)
    with pytest.raises(UnknownStrategy, match=f"{name}.*no parameter 'depth'"):
        ranked(name, candidates, labeled, depth=3)


def test_unknown_strategy_is_answered_with_those_that_exist() -> None:
    candidates, labeled = blobs(10)
    with pytest.raises(UnknownStrategy, match=r"'herding'.*clustering.*uherding"):
        ranked("herding", candidates, labeled)


def test_unknown_uncertainty_is_answered_with_those_that_exist() -> None:
    candidates, labeled = blobs(10)
    with pytest.raises(UnknownStrategy, match=r"'doubt'.*margin, entropy, bald, random"):
        ranked("top_n", candidates, labeled, uncertainty="doubt")


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("iterative_proximity", "mini_batch", 0),
        ("iterative_proximity", "weight", float("nan")),
        ("clustering", "k", 0),
        ("clustering", "batch", 2.5),
        ("uherding", "sigma", 0.0),
        ("uherding", "max_landmarks", -1),
        ("power", "beta", 0.0),
        ("mmr", "relevance", 1.5),
        ("bait", "regularisation", 0.0),
        ("dropquery", "rate", 1.0),
        ("typiclust", "budget", 0),
    ],
)
def test_impossible_parameter_value_is_refused(name: str, parameter: str, value: object) -> None:
    candidates, labeled = blobs(10)
    with pytest.raises(ConfigurationError, match=parameter):
        ranked(name, candidates, labeled, **{parameter: value})


@pytest.mark.parametrize("head", [0, -3, 1.5])
def test_impossible_head_is_refused(head: object) -> None:
    candidates, labeled = blobs(10)
    with pytest.raises(ConfigurationError, match="head="):
        rank("random", candidates, labeled, head=head, rng=np.random.default_rng(0))  # type: ignore[arg-type]


@pytest.mark.parametrize("uncertainty", ["least_confidence", "margin", "entropy", "random"])
@pytest.mark.parametrize("name", ["top_n", "iterative_proximity", "clustering", "uherding"])
def test_selections_take_every_uncertainty(name: str, uncertainty: str) -> None:
    candidates, labeled = blobs(60)
    assert_total_order(ranked(name, candidates, labeled, uncertainty=uncertainty), 60, 20)


def test_random_uncertainty_needs_no_model() -> None:
    candidates, _ = blobs(60)
    candidates = without_model(candidates)
    ranking = ranked("clustering", candidates, Labeled.none(8), uncertainty="random")
    assert ranking.strategy == "clustering"
    assert not ranking.cold_start


@every_strategy
def test_several_labels_a_task_are_ranked(name: str) -> None:
    candidates, labeled = blobs(60)
    assert candidates.embeddings_ND is not None
    rng = np.random.default_rng(4)
    weights_DC = rng.normal(size=(8, 4))

    def sigmoids(embeddings_KD: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.tanh(embeddings_KD @ weights_DC) * 3))

    several = replace(
        candidates,
        probs_NC=sigmoids(candidates.embeddings_ND),
        predict=sigmoids,
        multi_label=True,
    )
    labels_MC = rng.integers(2, size=(4, 4))
    ranking = ranked(name, several, Labeled(labeled.embeddings_MD, labels_MC))
    assert_total_order(ranking, 60, 20)
    assert ranking.strategy == name


@every_strategy
def test_memory_grows_neither_with_the_pool_squared_nor_with_head_times_pool(name: str) -> None:
    n, head = 40_000, 500
    rng = np.random.default_rng(0)
    embeddings_ND = rng.normal(size=(n, 12)).astype(np.float32)
    candidates = with_head(np.arange(n), some_probs(n, 4, rng), embeddings_ND)
    labeled = Labeled(embeddings_ND[:20], np.arange(20) % 4)
    tracemalloc.start()
    ranked(name, candidates, labeled, head=head)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # n * n float32 are 6,400 MB, head * n are 80; the kernel of 5,000 candidates x 2,048
    # landmarks, which does not grow with the pool, is 41.
    assert most_bytes < 75e6


def test_strategies_without_embeddings_work_and_the_others_say_so() -> None:
    candidates, _ = blobs(30)
    bare = Candidates(candidates.task_ids_N, candidates.probs_NC, None)
    assert_total_order(ranked("margin", bare, Labeled.none()), 30, 20)
    with pytest.raises(UnrankableInput, match="'uherding' needs embeddings_ND"):
        ranked("uherding", bare, Labeled.none())


def test_strategies_that_ask_the_head_say_so_where_there_is_none() -> None:
    candidates, labeled = blobs(30)
    mute = replace(candidates, predict=None)
    for name in ("dropquery", "bait"):
        with pytest.raises(UnrankableInput, match=f"'{name}' needs Candidates"):
            ranked(name, mute, labeled)
    with pytest.raises(UnrankableInput, match="bald needs mc_probs_TNC, or predict"):
        ranked("bald", mute, labeled)


def test_head_that_answers_with_something_else_than_probabilities_is_refused() -> None:
    candidates, labeled = blobs(30)
    for wrong in (lambda rows: rows, lambda rows: np.full((len(rows), 3), 1 / 3)):
        with pytest.raises(UnrankableInput, match="predict"):
            ranked("dropquery", replace(candidates, predict=wrong), labeled)
