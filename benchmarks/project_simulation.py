"""Simulated projects: half an image set is labeled by a queue with an audit, half stays unseen.

Knows image sets, query strategies and the appraisal's curves. The half that is never labeled tells
the truth about a head on images like the project's, which the project's numbers are held against.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.image_sets import ImageSet
from ml_backend.appraisal.curve_findings import COMPARED_HEADS
from ml_backend.appraisal.curves import queue_right, random_arm, sizes
from ml_backend.appraisal.heads import plain_head
from ml_backend.appraisal.labels_saved import random_labels
from strategies import Candidates, Labeled, rank

QUEUE, RANDOM = "uherding", "random"  # the default of the settings, and a queue that is none
DRAWN_SHARE = 0.3  # of the project's images, so that there are enough audit labels to come
RERANKED_AT = (10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400)
COMPONENTS = 128  # principal ones of the features: a head on them takes a third of the time
# (labels of the queue, labels of the audit): what a project has when it is looked at.
MOMENTS = ((100, 44), (200, 100), (300, 200))
SIZES = np.union1d(sizes(5, 400, 13), [22, 50, 100, 200, 300, 400])

Arrays = dict[str, NDArray[Any]]

TRUTH_HEADS = 150


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


def simulate(image_set: ImageSet, strategy: str, seed: int) -> Project:
    """Label 400 images along the queue.

    The audit's pace does not matter: its images are out of the queue from the start.
    """
    rng = np.random.default_rng([seed, len(image_set.labels_N)])
    shuffled = rng.permutation(len(image_set.labels_N))
    half = len(shuffled) // 2
    fresh_F, inside = np.sort(shuffled[:half]), shuffled[half:]
    n_drawn = round(DRAWN_SHARE * len(inside))
    audit_A, pool = inside[:n_drawn], np.sort(inside[n_drawn:])
    if strategy == RANDOM:
        return Project(rng.permutation(pool)[: RERANKED_AT[-1]], audit_A, fresh_F)
    return Project(_queue(image_set, strategy, pool, seed), audit_A, fresh_F)


def _queue(
    image_set: ImageSet, strategy: str, pool: NDArray[np.int64], seed: int
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
            Labeled(embeddings_ND[labeled], image_set.labels_N[labeled]),
            head=until - len(labeled),
            rng=np.random.default_rng(seed),
        )
        labeled = np.concatenate([labeled, open_rows[ranking.order[: until - len(labeled)]]])
        head = plain_head(embeddings_ND[labeled], image_set.labels_N[labeled], n_classes)
    return labeled


def curves(image_set: ImageSet, seed: int) -> Arrays:
    """Simulate a project with each queue; return what heads on its labels get right.

    QUEUE.audit and .fresh: (S, A) and (S, F) of the heads on the first SIZES labels. fresh: rows
    of the set.
    """
    n_classes, found = len(image_set.classes), {}
    for strategy in (QUEUE, RANDOM):
        project = simulate(image_set, strategy, seed)
        test = np.concatenate([project.audit_A[: MOMENTS[-1][1]], project.fresh_F])
        right_ST = queue_right(
            *rows_of(image_set, project.queue_M), SIZES, *rows_of(image_set, test), n_classes
        )
        found[f"{strategy}.audit"] = right_ST[:, : MOMENTS[-1][1]]
        found[f"{strategy}.fresh"] = right_ST[:, MOMENTS[-1][1] :]
    return found | {"fresh": project.fresh_F}


def arms(image_set: ImageSet, seed: int) -> Arrays:
    """Return the random arm at each moment: right44 (H), variance44 and so on."""
    n_classes, found = len(image_set.classes), {}
    audit_A = simulate(image_set, RANDOM, seed).audit_A  # the same whatever the queue
    for _, held_out in MOMENTS:
        arm = random_arm(
            *rows_of(image_set, audit_A[:held_out]),
            random_labels(held_out, n_classes),
            n_classes,
            heads=COMPARED_HEADS,
            rng=np.random.default_rng(seed),
        )
        found[f"right{held_out}"] = arm.right_H
        found[f"variance{held_out}"] = np.array(arm.variance)
    return found


def truth_of_random(image_set: ImageSet) -> Arrays:
    """Return, per moment, the share of many random heads that get each image right (N)."""
    n_classes = len(image_set.classes)
    rows = np.arange(len(image_set.labels_N))
    return {
        str(held_out): random_arm(
            *rows_of(image_set, rows),
            random_labels(held_out, n_classes),
            n_classes,
            heads=TRUTH_HEADS,
            rng=np.random.default_rng(0),
        ).right_H
        for _, held_out in MOMENTS
    }


def rows_of(
    image_set: ImageSet, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return image_set.embeddings_ND[rows], image_set.labels_N[rows]
