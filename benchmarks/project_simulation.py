"""Simulated projects: half an image set is labeled by a queue with an audit, half stays unseen.

Knows image sets and query strategies. The half that is never labeled tells the truth about a head
on images like those of the project, which the project's own numbers are held against.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.image_sets import ImageSet
from ml_backend.learning.head import fit_head
from strategies import Candidates, Labeled, rank

STRATEGY = "uherding"  # the default of the settings
RANDOM = "random"
DRAWN_SHARE = 0.3  # of the project's images, so that there are enough audit labels to come
COMPONENTS = 128  # principal ones of the features: a head on them takes a third of the time
# Labels at which the queue is ranked again: often at first, where each label changes most.
RERANKED_AT = (10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400)


@dataclass(frozen=True, slots=True, eq=False)
class Project:
    """One simulated project; rows of the image set.

    queue_M: labeled by the queue, audit_A: labeled at random, both in their order; fresh_F: never
    part of the project.
    """

    queue_M: NDArray[np.int64]
    audit_A: NDArray[np.int64]
    fresh_F: NDArray[np.int64]


def reduced(image_set: ImageSet) -> ImageSet:
    """Return the set with features of at most 128 dimensions."""
    from sklearn.decomposition import PCA

    embeddings_ND = image_set.embeddings_ND
    if embeddings_ND.shape[1] <= COMPONENTS:
        return image_set
    pca = PCA(COMPONENTS, svd_solver="full").fit(embeddings_ND.astype(np.float64))
    return replace(image_set, embeddings_ND=pca.transform(embeddings_ND).astype(np.float32))


def simulate(
    image_set: ImageSet, strategy: str, seed: int, labels_N: NDArray[np.int64] | None = None
) -> Project:
    """Label 400 images along the queue. labels_N: what annotators say, where it is not the truth.

    The audit's pace does not matter: its images are out of the queue from the start.
    """
    rng = np.random.default_rng([seed, len(image_set.labels_N)])
    said_N = image_set.labels_N if labels_N is None else labels_N
    shuffled = rng.permutation(len(said_N))
    fresh_F, inside = np.sort(shuffled[: len(said_N) // 2]), shuffled[len(said_N) // 2 :]
    n_drawn = round(DRAWN_SHARE * len(inside))
    audit_A, pool = inside[:n_drawn], np.sort(inside[n_drawn:])
    if strategy == RANDOM:
        return Project(rng.permutation(pool)[: RERANKED_AT[-1]], audit_A, fresh_F)
    return Project(_queue(image_set, said_N, strategy, pool, seed), audit_A, fresh_F)


def _queue(
    image_set: ImageSet,
    said_N: NDArray[np.int64],
    strategy: str,
    pool: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    embeddings_ND, n_classes = image_set.embeddings_ND, len(image_set.classes)
    labeled = np.empty(0, np.int64)
    head: Any = None
    for until in RERANKED_AT:
        open_rows = np.setdiff1d(pool, labeled)
        ranking = rank(
            strategy,
            Candidates(
                open_rows,
                None if head is None else head.probs(embeddings_ND[open_rows]),
                embeddings_ND[open_rows],
                predict=None if head is None else head.probs,
            ),
            Labeled(embeddings_ND[labeled], said_N[labeled]),
            head=until - len(labeled),
            rng=np.random.default_rng(seed),
        )
        labeled = np.concatenate([labeled, open_rows[ranking.order[: until - len(labeled)]]])
        head = fit_head(embeddings_ND[labeled], said_N[labeled], n_classes, previous=head)
    return labeled
