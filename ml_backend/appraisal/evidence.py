"""What an appraisal is made from.

Knows arrays and class rows; no store, no Label Studio, no web.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.head import Head


@dataclass(frozen=True, slots=True)
class Opinion:
    """One person's usable answer to one task. `annotator_id` None: nobody knows whose."""

    task_id: int
    annotator_id: int | None
    class_row: int


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """A project at one moment. Ids and arrays of one letter run in parallel.

    M labels are trained on and H are held out, both in the order in which they were labeled; N
    tasks are in the pool. Labels are rows of `classes`. Embeddings, `head`, `probs_NC` and
    `uncertainty_N` are those of the model in force; None: there is none yet.

    map_*_K: a fixed sample of the project, at most 2000 tasks; `map_labels_K` is -1 without label.
    opinions: every usable annotation, also of tasks that their annotators disagree on.
    previous_predictions: task → class row, of a model before on a fixed sample of the pool. It
    should lie some tens of labels back: two models one label apart always agree.
    unseen_M: which of the labeled images the network was not trained on; None: on none of them.
    curve_embeddings_*: of a network that was trained on none of them. Without these nothing can be
    said about curves once the network has seen labels, and suspects are looked for in the rest.
    curve_note: what people should know about the curves beside what is found here.
    """

    classes: tuple[str, ...]
    seed: int
    labeled_ids_M: NDArray[np.int64]
    labels_M: NDArray[np.int64]
    embeddings_MD: NDArray[np.float32]
    holdout_ids_H: NDArray[np.int64]
    holdout_labels_H: NDArray[np.int64]
    holdout_embeddings_HD: NDArray[np.float32]
    head: Head | None
    pool_ids_N: NDArray[np.int64]
    probs_NC: NDArray[np.float32] | None
    uncertainty_N: NDArray[np.float32] | None
    map_ids_K: NDArray[np.int64]
    map_embeddings_KD: NDArray[np.float32]
    map_labels_K: NDArray[np.int64]
    opinions: tuple[Opinion, ...] = ()
    previous_predictions: Mapping[int, int] | None = None
    unseen_M: NDArray[np.bool_] | None = None
    curve_embeddings_MD: NDArray[np.float32] | None = None
    curve_embeddings_HD: NDArray[np.float32] | None = None
    curve_note: str = ""

    @property
    def network_is_blind(self) -> bool:
        """Whether the network in force was trained on none of the labels."""
        return self.unseen_M is None or bool(self.unseen_M.all())

    def curve_arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return embeddings (M, D) and (H, D) of a network that saw no label; None without one."""
        if self.network_is_blind:
            return self.embeddings_MD, self.holdout_embeddings_HD
        if self.curve_embeddings_MD is None or self.curve_embeddings_HD is None:
            return None
        return self.curve_embeddings_MD, self.curve_embeddings_HD

    def check(self) -> None:
        """Raise ValueError naming the first array that is not as long as its ids, or no class."""
        parallel: dict[str, tuple[NDArray[Any] | None, NDArray[np.int64]]] = {
            "labels_M": (self.labels_M, self.labeled_ids_M),
            "embeddings_MD": (self.embeddings_MD, self.labeled_ids_M),
            "curve_embeddings_MD": (self.curve_embeddings_MD, self.labeled_ids_M),
            "unseen_M": (self.unseen_M, self.labeled_ids_M),
            "holdout_labels_H": (self.holdout_labels_H, self.holdout_ids_H),
            "holdout_embeddings_HD": (self.holdout_embeddings_HD, self.holdout_ids_H),
            "curve_embeddings_HD": (self.curve_embeddings_HD, self.holdout_ids_H),
            "probs_NC": (self.probs_NC, self.pool_ids_N),
            "uncertainty_N": (self.uncertainty_N, self.pool_ids_N),
            "map_embeddings_KD": (self.map_embeddings_KD, self.map_ids_K),
            "map_labels_K": (self.map_labels_K, self.map_ids_K),
        }
        for name, (array, ids) in parallel.items():
            if array is not None and len(array) != len(ids):
                raise ValueError(f"{name} has {len(array)} rows, expected {len(ids)}")
        for name in ("labels_M", "holdout_labels_H", "map_labels_K"):
            rows = getattr(self, name)
            least = -1 if name == "map_labels_K" else 0
            if len(rows) and not (rows.min() >= least and rows.max() < len(self.classes)):
                raise ValueError(f"{name} spans {rows.min()}..{rows.max()}: no rows of classes")
