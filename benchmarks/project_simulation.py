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
from ml_backend.appraisal.curves import queue_right, random_arm, sizes
from ml_backend.appraisal.heads import answers, plain_head, probs_out_of_fold
from ml_backend.appraisal.suspects import find_suspects
from strategies import Candidates, Labeled, rank

QUEUE, RANDOM = "uherding", "random"  # the default of the settings, and a queue that is none
DRAWN_SHARE = 0.3  # of the project's images, so that there are enough audit labels to come
RERANKED_AT = (10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400)
COMPONENTS = 128  # principal ones of the features: a head on them takes a third of the time
# (labels of the queue, labels of the audit): what a project has when it is looked at.
MOMENTS = ((100, 44), (200, 100), (300, 200))
SIZES = np.union1d(sizes(5, 400, 13), [h // 2 for _, h in MOMENTS] + [100, 200, 300, 400])
ARM_HEADS = 20
TRUTH_HEADS = 150
FLIPPED_SHARE = 0.05  # of the labels, for suspects


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


def observe(image_set: ImageSet, seed: int) -> dict[str, NDArray[Any]]:
    """Simulate a project with each queue; return what heads on its labels get right.

    QUEUE.audit and .fresh: (S, A) and (S, F) of the heads on the first SIZES labels. arm44 and so
    on: of heads on half so many audit labels; arm44.variance. fresh: rows of the set.
    """
    n_classes, found = len(image_set.classes), {}
    for strategy in (QUEUE, RANDOM):
        project = simulate(image_set, strategy, seed)
        test = np.concatenate([project.audit_A[: MOMENTS[-1][1]], project.fresh_F])
        right_ST = queue_right(
            *_of(image_set, project.queue_M), SIZES, *_of(image_set, test), n_classes
        )
        found[f"{strategy}.audit"] = right_ST[:, : MOMENTS[-1][1]]
        found[f"{strategy}.fresh"] = right_ST[:, MOMENTS[-1][1] :]
        if strategy == QUEUE:
            found |= _suspects(image_set, project, seed)
    found["fresh"] = project.fresh_F
    for _, held_out in MOMENTS:
        arm = random_arm(
            *_of(image_set, project.audit_A[:held_out]),
            held_out // 2,
            n_classes,
            heads=ARM_HEADS,
            rng=np.random.default_rng(seed),
        )
        found[f"arm{held_out}"] = arm.right_H
        found[f"arm{held_out}.variance"] = np.array(arm.variance)
    return found


def truth_of_random(image_set: ImageSet) -> dict[str, NDArray[np.float64]]:
    """Return, per number of labels, the share of random heads that get each image right (N)."""
    n_classes = len(image_set.classes)
    rows = np.arange(len(image_set.labels_N))
    return {
        str(held_out // 2): random_arm(
            *_of(image_set, rows),
            held_out // 2,
            n_classes,
            heads=TRUTH_HEADS,
            rng=np.random.default_rng(0),
        ).right_H
        for _, held_out in MOMENTS
    }


def _of(
    image_set: ImageSet, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    return image_set.embeddings_ND[rows], image_set.labels_N[rows]


def _suspects(image_set: ImageSet, project: Project, seed: int) -> dict[str, NDArray[Any]]:
    """Flip labels of queue and audit and look for them.

    flips.KIND: (flipped, suspected, both, flipped among as many worst as were flipped).
    """
    n_classes = len(image_set.classes)
    trained, held_out = project.queue_M, project.audit_A[: MOMENTS[-1][1]]
    rows = np.concatenate([trained, held_out])
    rng = np.random.default_rng([seed, 1])
    found = {}
    head = plain_head(*_of(image_set, trained), n_classes)
    for kind in ("uniform", "confused"):
        labels_L = image_set.labels_N[rows].copy()
        flipped = rng.permutation(len(rows))[: round(FLIPPED_SHARE * len(rows))]
        if kind == "uniform":
            labels_L[flipped] += rng.integers(1, n_classes, len(flipped))
            labels_L[flipped] %= n_classes
        else:
            labels_L[flipped] = _most_confused(image_set, head, project, labels_L[flipped])
        said_LC = suspicion(image_set.embeddings_ND[rows], labels_L, len(trained), n_classes, seed)
        suspects = [each.row for each in find_suspects(said_LC, labels_L)]
        hits = np.isin(suspects, flipped)
        counts = (len(flipped), len(suspects), hits.sum(), hits[: len(flipped)].sum())
        found[f"flips.{kind}"] = np.array(counts)
    return found


def suspicion(
    embeddings_LD: NDArray[np.float32],
    labels_L: NDArray[np.int64],
    n_trained: int,
    n_classes: int,
    seed: int,
) -> NDArray[np.float32]:
    """Return what heads say that did not see the label each: out of fold, then of the holdout."""
    trained = slice(0, n_trained)
    oof_MC = probs_out_of_fold(
        embeddings_LD[trained], labels_L[trained], n_classes, temperature=1.0, seed=seed
    )
    head = plain_head(embeddings_LD[trained], labels_L[trained], n_classes)
    return np.concatenate([oof_MC, head.probs(embeddings_LD[n_trained:])])


def _most_confused(
    image_set: ImageSet, head: Any, project: Project, labels_K: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the class that each label is most often taken for on fresh images."""
    said_F = answers(head, image_set.embeddings_ND[project.fresh_F])
    true_F = image_set.labels_N[project.fresh_F]
    n_classes = len(image_set.classes)
    confusion_CC = np.bincount(true_F * n_classes + said_F, minlength=n_classes**2)
    confusion_CC = confusion_CC.reshape(n_classes, n_classes) - np.eye(n_classes, dtype=int) * 10**9
    return np.asarray(confusion_CC.argmax(axis=1)[labels_K])
