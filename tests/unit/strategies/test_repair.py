"""Repair: a covered task behaves as a labeled one, and nobody else's queue jumps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.errors import UnrankableInput
from strategies import STRATEGIES, Candidates, Labeled, Ranking, rank, repair
from tests.unit.strategies.pools import blobs, shuffled


def ranked(name: str, candidates: Candidates, labeled: Labeled, **more: object) -> Ranking:
    return rank(name, candidates, labeled, rng=np.random.default_rng(0), **more)


def without(candidates: Candidates, rows: list[int]) -> Candidates:
    return candidates.take(np.setdiff1d(np.arange(len(candidates)), rows))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 60),
    head=st.integers(1, 40),
    name=st.sampled_from(["uherding", "maxherding"]),
    centred=st.booleans(),
    data=st.data(),
)
def test_repaired_head_is_that_of_ranking_the_rest_anew(
    n: int, head: int, name: str, centred: bool, data: st.DataObject
) -> None:
    candidates, labeled = blobs(n, seed=data.draw(st.integers(0, 2**16)))
    covered = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n - 1))
    fixed = {"head": head, "sigma": 0.7, "centred": centred}
    repaired = repair(ranked(name, candidates, labeled, **fixed), covered)
    assert candidates.embeddings_ND is not None
    embeddings_MD = np.concatenate([labeled.embeddings_MD, candidates.embeddings_ND[covered]])
    labels_M = np.concatenate([labeled.labels_M, np.zeros(len(covered), int)])
    rest = without(candidates, covered)
    anew = ranked(name, rest, Labeled(embeddings_MD, labels_M), **fixed)
    n_picked = sum(reason.kind == "covers" for reason in anew.reasons)
    repaired_ids = candidates.task_ids_N[repaired.order[:n_picked]]
    anew_ids = rest.task_ids_N[anew.order[:n_picked]]
    # Two tasks may gain the same but for float32 rounding; what follows them may then differ.
    apart = np.flatnonzero(repaired_ids != anew_ids)
    compared = int(apart[0]) + 1 if apart.size else n_picked
    shares = np.array([reason.coverage for reason in repaired.reasons[:compared]])
    expected = np.array([reason.coverage for reason in anew.reasons[:compared]])
    assert shares == pytest.approx(expected, abs=1e-4)
    if apart.size:
        assert shares[-1] == pytest.approx(expected[-1], rel=1e-4)


def test_task_that_was_no_candidate_can_be_covered() -> None:
    candidates, labeled = blobs(600)
    less = {"max_candidates": 100, "max_landmarks": 80}
    ranking = ranked("uherding", candidates, labeled, head=5, **less)
    assert ranking.memory is not None
    goal = ranking.memory.picks.goal
    assert goal is not None
    first = int(ranking.order[0])
    other = next(row for row in range(600) if row not in goal.rows_K and alike(ranking, first, row))
    assert repair(ranking, [other]).order[:5].tolist() != ranking.order[:5].tolist()


def alike(ranking: Ranking, row: int, other: int) -> bool:
    assert ranking.memory is not None
    embeddings_ND = ranking.memory.query.embeddings_ND
    return bool(np.linalg.norm(embeddings_ND[row] - embeddings_ND[other]) < 3)


@pytest.mark.parametrize("name", STRATEGIES)
def test_repaired_ranking_is_a_permutation_with_the_covered_at_its_end(name: str) -> None:
    candidates, labeled = blobs(150)
    ranking = ranked(name, candidates, labeled, head=20)
    covered = [int(row) for row in ranking.order[[0, 3, 40, 149]]]
    repaired = repair(ranking, covered)
    assert sorted(repaired.order.tolist()) == list(range(150))
    assert set(repaired.order[-4:].tolist()) == set(covered)
    assert (np.diff(repaired.priority) < 0).all()
    assert len(repaired.reasons) == 20
    assert sorted(ranking.order.tolist()) == list(range(150))  # the first one is left alone


@pytest.mark.parametrize("name", STRATEGIES)
def test_behind_the_head_nobody_overtakes_anybody(name: str) -> None:
    candidates, labeled = blobs(150)
    ranking = ranked(name, candidates, labeled, head=20)
    repaired = repair(ranking, ranking.order[[2, 7, 60]])
    place = {int(row): i for i, row in enumerate(repaired.order)}
    heads = {*ranking.order[:20].tolist(), *repaired.order[:20].tolist()}
    behind = [int(row) for row in ranking.order if int(row) not in heads][:-1]
    untouched = [place[row] for row in behind if row != int(ranking.order[60])]
    assert untouched == sorted(untouched)


@pytest.mark.parametrize("name", ["uherding", "maxherding"])
def test_labels_in_order_change_nothing_but_the_front(name: str) -> None:
    candidates, labeled = blobs(120)
    ranking = ranked(name, candidates, labeled, head=30)
    repaired = repair(ranking, ranking.order[:6])
    assert repaired.order[:24].tolist() == ranking.order[6:30].tolist()


def test_strategies_without_coverage_keep_their_order() -> None:
    candidates, labeled = blobs(50)
    ranking = ranked("margin", candidates, labeled, head=10)
    repaired = repair(ranking, ranking.order[[1, 4]])
    expected = np.delete(ranking.order, [1, 4])
    assert repaired.order[:48].tolist() == expected.tolist()


def test_what_is_like_a_covered_task_waits() -> None:
    rng = np.random.default_rng(0)
    axes_ND = np.repeat(np.eye(3, 6), (20, 10, 5), axis=0) + 0.02 * rng.normal(size=(35, 6))
    pool = Candidates(np.arange(35), None, axes_ND)
    ranking = ranked("maxherding", pool, Labeled.none(6), head=3)
    groups = np.repeat([0, 1, 2], (20, 10, 5))
    assert groups[ranking.order[:3]].tolist() == [0, 1, 2]
    another_of_the_first = next(row for row in range(20) if row != ranking.order[0])
    assert groups[repair(ranking, [another_of_the_first]).order[:2]].tolist() == [1, 2]


def test_repairing_twice_is_repairing_once_with_both() -> None:
    candidates, labeled = blobs(80)
    ranking = ranked("uherding", candidates, labeled, head=20)
    twice = repair(repair(ranking, [3, 5]), [7])
    assert twice.order.tolist() == repair(ranking, [7, 5, 3]).order.tolist()


def test_rows_are_those_of_the_caller_s_pool() -> None:
    candidates, labeled = blobs(80)
    rows = np.random.default_rng(1).permutation(80)
    mixed = shuffled(candidates, rows)
    straight = repair(ranked("uherding", candidates, labeled, head=20), rows[:5])
    same = repair(ranked("uherding", mixed, labeled, head=20), range(5))
    ids_N = candidates.task_ids_N
    assert ids_N[straight.order].tolist() == mixed.task_ids_N[same.order].tolist()


def test_nothing_covered_and_an_empty_pool_need_no_repair() -> None:
    candidates, labeled = blobs(20)
    ranking = ranked("uherding", candidates, labeled)
    assert repair(ranking, []) is ranking
    empty = Candidates(np.empty(0, int), np.empty((0, 4)), np.empty((0, 8)))
    assert len(repair(ranked("uherding", empty, Labeled.none(8)), [])) == 0


def test_everything_may_be_covered() -> None:
    candidates, labeled = blobs(12)
    repaired = repair(ranked("uherding", candidates, labeled), range(12))
    assert sorted(repaired.order.tolist()) == list(range(12))
    assert repaired.reasons == ()


@pytest.mark.parametrize("covered", [[-1], [20], [0.5], [[1]]])
def test_foreign_rows_are_refused(covered: list[object]) -> None:
    candidates, labeled = blobs(20)
    ranking = ranked("uherding", candidates, labeled)
    with pytest.raises(UnrankableInput, match="covered"):
        repair(ranking, covered)  # type: ignore[arg-type]
