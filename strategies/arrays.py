"""What goes into a ranking: the pool, and what is labeled already. Checked once, at the border.

Knows numpy and nothing else. Every complaint names the array, the row and what was expected, so
that logits passed as probabilities are told from a ranking that is merely strange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    Both may be torch tensors: those on the CPU are used as they lie, others are copied to it.
    mc_probs_TNC: the probabilities as T samples of the model see them (dropout, a posterior of its
    last layer): one array, or anything that can be iterated over again and again and gives T arrays
    (N, C), so that they need not be held at once.
    predict: embeddings (K, D) to probabilities (K, C), row by row: the head itself, for strategies
    that ask what it would say of other embeddings.
    weights_N: > 0, how much a task counts, such as one over its cost; None for all the same.
    multi_label: a task may have several classes at once; each probability stands for itself.
    Raises UnrankableInput.
    """

    task_ids_N: IntArray
    probs_NC: FloatArray | None
    embeddings_ND: FloatArray | None
    mc_probs_TNC: Iterable[FloatArray] | None = None
    predict: Callable[[FloatArray], FloatArray] | None = None
    weights_N: FloatArray | None = None
    multi_label: bool = False

    def __post_init__(self) -> None:
        """Check, and hold everything as arrays."""
        object.__setattr__(self, "task_ids_N", _distinct_ids(self.task_ids_N))
        if self.probs_NC is not None:
            probs_NC = checked_probs("probs_NC", self.probs_NC, len(self), self.multi_label)
            object.__setattr__(self, "probs_NC", probs_NC)
        if self.embeddings_ND is not None:
            embeddings_ND = _finite_matrix("embeddings_ND", self.embeddings_ND, len(self))
            object.__setattr__(self, "embeddings_ND", embeddings_ND)
        if self.weights_N is not None:
            object.__setattr__(self, "weights_N", _weights(self.weights_N, len(self)))
        if self.mc_probs_TNC is not None and iter(self.mc_probs_TNC) is self.mc_probs_TNC:
            raise UnrankableInput(
                "mc_probs_TNC can be read only once: expected an array, a list, or an object "
                "whose __iter__ starts anew"
            )

    def __len__(self) -> int:
        """Return N."""
        return len(self.task_ids_N)

    def mc_samples(self) -> Iterator[FloatArray]:
        """Yield the T samples of mc_probs_TNC, each checked. Raises UnrankableInput."""
        for t, probs_NC in enumerate(self.mc_probs_TNC if self.mc_probs_TNC is not None else ()):
            yield checked_probs(f"mc_probs_TNC[{t}]", probs_NC, len(self), self.multi_label)

    def take(self, rows_N: IntArray) -> Candidates:
        """Return the tasks of these rows, in this order."""
        return Candidates(
            self.task_ids_N[rows_N],
            None if self.probs_NC is None else self.probs_NC[rows_N],
            None if self.embeddings_ND is None else self.embeddings_ND[rows_N],
            None if self.mc_probs_TNC is None else _Rearranged(self.mc_probs_TNC, rows_N),
            self.predict,
            None if self.weights_N is None else self.weights_N[rows_N],
            self.multi_label,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Rearranged:
    """The rows of samples in another order, without holding more than one sample."""

    samples: Iterable[FloatArray]
    rows_N: IntArray

    def __iter__(self) -> Iterator[FloatArray]:
        return (np.asarray(probs_NC)[self.rows_N] for probs_NC in self.samples)


@dataclass(frozen=True, slots=True, eq=False)
class Labeled:
    """What people have answered: one embedding and one class index a task.

    embeddings_MD: in the same space as the pool's. labels_M: integers >= 0; where a task can have
    several classes, zeros and ones of shape (M, C) instead.
    Raises UnrankableInput.
    """

    embeddings_MD: FloatArray
    labels_M: IntArray

    def __post_init__(self) -> None:
        """Check, and hold everything as arrays."""
        labels_M = _labels(self.labels_M)
        object.__setattr__(self, "labels_M", labels_M)
        embeddings_MD = _finite_matrix("embeddings_MD", self.embeddings_MD, len(labels_M))
        object.__setattr__(self, "embeddings_MD", embeddings_MD)

    def __len__(self) -> int:
        """Return M."""
        return len(self.labels_M)

    def class_counts(self, n_classes: int) -> IntArray:
        """Return how many tasks have each of `n_classes` classes; all labels are below it."""
        if self.labels_M.ndim == 2:
            return self.labels_M.sum(axis=0, dtype=np.int64)  # type: ignore[no-any-return]
        return np.bincount(self.labels_M, minlength=n_classes)

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
        n_classes, labels_M = candidates.probs_NC.shape[1], labeled.labels_M
        if labels_M.ndim == 2 and labels_M.shape[1] != n_classes:
            raise UnrankableInput(
                f"labels_M has {labels_M.shape[1]} columns where probs_NC has {n_classes}"
            )
        if labels_M.ndim == 1 and labels_M.max() >= n_classes:
            raise UnrankableInput(
                f"labels_M holds class {labels_M.max()} where probs_NC has {n_classes} columns"
            )


def checked_probs(name: str, values: object, n_rows: int, multi_label: bool) -> FloatArray:
    """Return probabilities (n_rows, C) as a float array. Raises UnrankableInput."""
    probs_NC = _finite_matrix(name, values, n_rows)
    _require_probabilities(name, probs_NC, sum_to_one=not multi_label)
    return probs_NC


def _labels(values: object) -> IntArray:
    array = np.asarray(values)
    if array.ndim == 2:
        if array.dtype.kind not in "iub" or not np.isin(array, (0, 1)).all():
            raise UnrankableInput(
                f"labels_M of shape {array.shape} holds {array.dtype}: expected zeros and ones, "
                "a column per class, or one axis of class indices"
            )
        return array.astype(np.int64, copy=False)
    labels_M = _integers("labels_M", array)
    if labels_M.size and labels_M.min() < 0:
        row = int(labels_M.argmin())
        raise UnrankableInput(f"labels_M[{row}] is {labels_M[row]}: a class index is >= 0")
    return labels_M


def _weights(values: object, n_rows: int) -> FloatArray:
    weights_N = np.asarray(values)
    if weights_N.shape != (n_rows,) or weights_N.dtype.kind not in "fiu":
        raise UnrankableInput(
            f"weights_N has shape {weights_N.shape} of {weights_N.dtype}: "
            f"expected ({n_rows},) numbers"
        )
    weights_N = weights_N.astype(np.float64, copy=False)
    if not (np.isfinite(weights_N) & (weights_N > 0)).all():
        raise UnrankableInput("weights_N: expected finite numbers > 0")
    return weights_N


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


def _on_host(values: Any) -> Any:
    """Return a torch tensor's numbers without importing torch; anything else as it is."""
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return tensor.float() if "bfloat16" in str(tensor.dtype) else tensor  # numpy has no bfloat16


def _finite_matrix(name: str, values: object, n_rows: int) -> FloatArray:
    array = np.asarray(_on_host(values))
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


def _require_probabilities(name: str, probs_NC: FloatArray, *, sum_to_one: bool) -> None:
    n_rows, n_classes = probs_NC.shape
    if n_classes == 0:
        raise UnrankableInput(f"{name} has no columns: expected one per class")
    if not n_rows:
        return
    lowest, highest = probs_NC.min(), probs_NC.max()
    off = np.abs(probs_NC.sum(axis=1) - 1.0).max() if sum_to_one else 0.0
    if lowest < 0 or highest > 1 + _SUM_TOLERANCE or off > _SUM_TOLERANCE:
        sums = f" with row sums up to {off:.4g} away from 1" if sum_to_one else ""
        output = "softmax output" if sum_to_one else "a sigmoid each"
        raise UnrankableInput(
            f"{name} lies in [{lowest:.4g}, {highest:.4g}]{sums}: "
            f"expected probabilities ({output}), not logits"
        )
