"""What cannot be ranked is refused, and the message names the array and the row."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.errors import UnrankableInput
from strategies import Candidates, Labeled, rank

IDS = np.arange(3)
HALVES = np.full((3, 2), 0.5)
POINTS = np.eye(3)


def with_value(array: np.ndarray, row: int, value: float) -> np.ndarray:
    changed = array.copy()
    changed[row, 0] = value
    return changed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IDS, with_value(HALVES, 1, np.nan), POINTS), r"probs_NC row 1 holds NaN"),
        ((IDS, HALVES, with_value(POINTS, 2, np.inf)), r"embeddings_ND row 2 holds NaN or inf"),
        ((IDS, np.array([[4.0, -2.0]] * 3), POINTS), r"not logits"),
        ((IDS, HALVES * 0.9, POINTS), r"row sums up to 0.1 away from 1"),
        ((IDS, HALVES[:2], POINTS), r"probs_NC has shape \(2, 2\): expected \(3, columns\)"),
        ((IDS, HALVES, POINTS[:2]), r"embeddings_ND has shape \(2, 3\)"),
        ((IDS, HALVES, POINTS[0]), r"embeddings_ND has shape \(3,\)"),
        ((IDS, HALVES[:, :0], POINTS), r"probs_NC has no columns"),
        ((np.array([7, 5, 7]), HALVES, POINTS), r"task 7 more than once"),
        ((IDS * 1.0, HALVES, POINTS), r"task_ids_N holds float64"),
        ((IDS[:, None], HALVES, POINTS), r"task_ids_N has shape \(3, 1\)"),
        ((IDS, HALVES, np.array([["a"]] * 3)), r"embeddings_ND holds"),
    ],
)
def test_unusable_pool_is_refused(arguments: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(UnrankableInput, match=message):
        Candidates(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((POINTS, np.array([0, 1])), r"embeddings_MD has shape \(3, 3\): expected \(2, columns\)"),
        ((POINTS, np.array([0, -1, 1])), r"labels_M\[1\] is -1"),
        ((with_value(POINTS, 0, np.nan), IDS), r"embeddings_MD row 0"),
    ],
)
def test_unusable_labels_are_refused(arguments: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(UnrankableInput, match=message):
        Labeled(*arguments)


@pytest.mark.parametrize(
    ("labeled", "message"),
    [
        (Labeled(np.eye(2), np.array([0, 1])), "2 columns where embeddings_ND has 3"),
        (Labeled(np.eye(3), np.array([0, 1, 2])), "class 2 where probs_NC has 2 columns"),
    ],
)
def test_labels_of_another_kind_than_the_pool_are_refused(labeled: Labeled, message: str) -> None:
    with pytest.raises(UnrankableInput, match=message):
        rank("random", Candidates(IDS, HALVES, POINTS), labeled, rng=np.random.default_rng(0))


@pytest.mark.parametrize("clusters", [np.zeros(2, int), np.zeros(3), np.zeros((3, 1), int)])
def test_clusters_that_do_not_fit_the_pool_are_refused(clusters: np.ndarray) -> None:
    candidates = Candidates(IDS, HALVES, POINTS)
    with pytest.raises(UnrankableInput, match="clusters_N has shape"):
        rank(
            "margin", candidates, Labeled.none(), rng=np.random.default_rng(0), clusters_N=clusters
        )


def test_softmax_rounding_is_accepted() -> None:
    Candidates(IDS, np.array([[0.33, 0.33, 0.3404]] * 3), POINTS)


def test_torch_tensors_are_taken_as_they_lie() -> None:
    torch = pytest.importorskip("torch")
    embeddings_ND = torch.eye(4, 3, requires_grad=True)
    probs_NC = torch.full((4, 2), 0.5, dtype=torch.bfloat16)
    candidates = Candidates(np.arange(4), probs_NC, embeddings_ND)
    assert isinstance(candidates.embeddings_ND, np.ndarray)
    assert candidates.probs_NC is not None
    assert candidates.probs_NC.tolist() == [[0.5, 0.5]] * 4
    assert candidates.embeddings_ND.ctypes.data == embeddings_ND.data_ptr()  # no copy
