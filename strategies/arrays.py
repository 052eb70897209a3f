"""What goes into a ranking: the pool, and what is labeled already. Checked once, at the border.

Knows numpy and nothing else. Every complaint names the array, the row and what was expected, so
that logits passed as probabilities are told from a ranking that is merely strange.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.errors import UnrankableInput

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_CHECK_ROWS = 8192  # rows looked at in one go, to keep the check's memory small
_SUM_TOLERANCE = 1e-3  # float32 softmax over many classes, and rounded probabilities, pass


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The pool: tasks that could be labeled next.

    task_ids_N: distinct integers. The ranking does not depend on the order of the rows.
    probs_NC: calibrated class probabilities, rows summing to 1, or None while there is no model.
    embeddings_ND: finite, of any scale up to 1e18, or None for strategies that need none.
    Raises UnrankableInput.
    """

    task_ids_N: IntArray
    probs_NC: FloatArray | None
    embeddings_ND: FloatArray | None

    def __post_init__(self) -> None:
        """Check, and hold everything as arrays."""
        object.__setattr__(self, "task_ids_N", _distinct_ids(self.task_ids_N))
        if self.probs_NC is not None:
            probs_NC = _finite_matrix("probs_NC", self.probs_NC, len(self))
            _require_distributions(probs_NC)
            object.__setattr__(self, "probs_NC", probs_NC)
        if self.embeddings_ND is not None:
            embeddings_ND = _finite_matrix("embeddings_ND", self.embeddings_ND, len(self))
            object.__setattr__(self, "embeddings_ND", embeddings_ND)

    def __len__(self) -> int:
        """Return N."""
        return len(self.task_ids_N)


@dataclass(frozen=True, slots=True, eq=False)
class Labeled:
    """What people have answered: one embedding and one class index a task.

    embeddings_MD: in the same space as the pool's. labels_M: integers >= 0.
    Raises UnrankableInput.
    """

    embeddings_MD: FloatArray
    labels_M: IntArray

    def __post_init__(self) -> None:
        """Check, and hold everything as arrays."""
        labels_M = _integers("labels_M", self.labels_M)
        if labels_M.size and labels_M.min() < 0:
            row = int(labels_M.argmin())
            raise UnrankableInput(f"labels_M[{row}] is {labels_M[row]}: a class index is >= 0")
        object.__setattr__(self, "labels_M", labels_M)
        embeddings_MD = _finite_matrix("embeddings_MD", self.embeddings_MD, len(labels_M))
        object.__setattr__(self, "embeddings_MD", embeddings_MD)

    def __len__(self) -> int:
        """Return M."""
        return len(self.labels_M)

    @classmethod
    def none(cls, dim: int = 0) -> Labeled:
        """Return what is labeled before anything is."""
        return cls(np.empty((0, dim), dtype=np.float32), np.empty(0, dtype=np.int64))


def require_compatible(candidates: Candidates, labeled: Labeled) -> None:
    """Raise UnrankableInput where pool and labeled cannot belong together."""
    if not len(labeled) or not len(candidates):
        return
    if candidates.embeddings_ND is not None:
        pool_dim, labeled_dim = candidates.embeddings_ND.shape[1], labeled.embeddings_MD.shape[1]
        if pool_dim != labeled_dim:
            raise UnrankableInput(
                f"embeddings_MD has {labeled_dim} columns where embeddings_ND has {pool_dim}: "
                "both must come from the same backbone"
            )
    if candidates.probs_NC is not None:
        n_classes = candidates.probs_NC.shape[1]
        if labeled.labels_M.max() >= n_classes:
            raise UnrankableInput(
                f"labels_M holds class {labeled.labels_M.max()} where probs_NC has "
                f"{n_classes} columns"
            )


def _distinct_ids(task_ids_N: object) -> IntArray:
    ids_N = _integers("task_ids_N", task_ids_N)
    in_order_N = np.sort(ids_N)
    twice = np.flatnonzero(in_order_N[1:] == in_order_N[:-1])
    if twice.size:
        raise UnrankableInput(f"task_ids_N holds task {in_order_N[twice[0]]} more than once")
    return ids_N


def _integers(name: str, values: object) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise UnrankableInput(f"{name} has shape {array.shape}: expected one axis")
    if array.size and array.dtype.kind not in "iu":
        raise UnrankableInput(f"{name} holds {array.dtype}: expected integers")
    return array.astype(np.int64, copy=False)


def _finite_matrix(name: str, values: object, n_rows: int) -> FloatArray:
    array = np.asarray(values)
    if array.dtype.kind in "iub":
        array = array.astype(np.float32)
    if array.dtype.kind != "f":
        raise UnrankableInput(f"{name} holds {array.dtype}: expected numbers")
    if array.ndim != 2 or len(array) != n_rows:
        raise UnrankableInput(f"{name} has shape {array.shape}: expected ({n_rows}, columns)")
    for start in range(0, n_rows, _CHECK_ROWS):
        bad = ~np.isfinite(array[start : start + _CHECK_ROWS]).all(axis=1)
        if bad.any():
            row = start + int(bad.argmax())
            raise UnrankableInput(f"{name} row {row} holds NaN or infinity")
    return array


def _require_distributions(probs_NC: FloatArray) -> None:
    n_rows, n_classes = probs_NC.shape
    if n_classes == 0:
        raise UnrankableInput("probs_NC has no columns: expected one per class")
    if not n_rows:
        return
    lowest, highest = probs_NC.min(), probs_NC.max()
    off_N = np.abs(probs_NC.sum(axis=1) - 1.0)
    if lowest < 0 or highest > 1 + _SUM_TOLERANCE or off_N.max() > _SUM_TOLERANCE:
        raise UnrankableInput(
            f"probs_NC lies in [{lowest:.4g}, {highest:.4g}] with row sums up to "
            f"{off_N.max():.4g} away from 1: expected probabilities (softmax output), not logits"
        )
