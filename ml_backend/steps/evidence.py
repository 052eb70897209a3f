"""Evidence: what an appraisal is made from, gathered from the mirror, the last round and caches.

Loads no torch: embeddings are read, not made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_backend.appraisal.evidence import Evidence, Opinion
from ml_backend.jobs.store import ConnectedProject, Mirror, Store
from ml_backend.learning.checkpoints import RoundResults
from ml_backend.learning.embedding_cache import EmbeddingCache
from ml_backend.steps.holdout import Holdout
from ml_backend.steps.learn import unseen
from ml_backend.steps.situation import Situation, situate

MAP_TASKS = 2000
SAMPLED_TASKS = 1000  # of the pool, on which two models are compared
# The holdout is drawn by the first digits of a hash; a sample by these has nothing to do with it.
SAMPLE_DIGITS = slice(16, 32)


@dataclass(frozen=True, slots=True)
class AppraisalBench:
    """One project, as an appraisal sees it.

    `results` are those of the order in force. `curves_of(task_ids)` returns the embeddings of a
    network that has learned from no label, with these tasks in them, and what people should know
    about it; without such embeddings None and why.
    """

    project: ConnectedProject
    store: Store
    results: RoundResults
    cache: EmbeddingCache  # of the model in force
    learned_from: frozenset[str]  # content hashes of what its network was trained on
    curves_of: Callable[[Sequence[int]], tuple[EmbeddingCache | None, str]]
    folder: Path  # the project's
    seed: int
    prelabel: bool


@dataclass(frozen=True, slots=True)
class Gathered:
    """The evidence, and where it comes from."""

    evidence: Evidence
    mirror: Mirror
    situation: Situation
    hashes: dict[int, str]  # of every task that is embedded


def gather(bench: AppraisalBench, previous: dict[int, int] | None) -> Gathered:
    """Read everything that an appraisal takes; `previous` are the model's before on the sample."""
    mirror = bench.store.mirror(bench.project.project_id)
    holdout = Holdout(bench.project.audit_share, bench.project.project_id)
    situation = situate(mirror, bench.project.control, holdout, bench.cache.has)
    hashes = {
        int(task_id): name
        for task_id, name in zip(mirror.task_ids, mirror.content_hashes, strict=True)
        if name is not None and bench.cache.has(name)
    }
    evidence = _evidence(bench, mirror, situation, hashes, previous)
    return Gathered(evidence, mirror, situation, hashes)


def sample(task_ids: Sequence[int], hashes: dict[int, str], at_most: int) -> list[int]:
    """Draw tasks by their image, so that it is the same ones again while they are there."""
    embedded = [task_id for task_id in task_ids if task_id in hashes]
    drawn = sorted(embedded, key=lambda task_id: (hashes[task_id][SAMPLE_DIGITS], task_id))
    return sorted(drawn[:at_most])


def _evidence(
    bench: AppraisalBench,
    mirror: Mirror,
    situation: Situation,
    hashes: dict[int, str],
    previous: dict[int, int] | None,
) -> Evidence:
    results, labeled_at = bench.results, _labeled_at(mirror)
    m = _in_order(situation.labeled_ids_M, labeled_at)
    h = _in_order(situation.holdout_ids_H, labeled_at)
    labeled_M, held_out_H = situation.labeled_ids_M[m], situation.holdout_ids_H[h]
    pool_N = np.isin(results.task_ids_N, situation.ranked_ids)
    map_ids = sample(list(hashes), hashes, MAP_TASKS)
    curves, note = bench.curves_of([*labeled_M.tolist(), *held_out_H.tolist()])

    def vectors(task_ids: Iterable[int], cache: EmbeddingCache) -> NDArray[np.float32]:
        return cache.rows([hashes[int(task_id)] for task_id in task_ids])

    return Evidence(
        classes=bench.project.control.classes,
        seed=bench.seed,
        labeled_ids_M=labeled_M,
        labels_M=situation.labels_M[m],
        embeddings_MD=vectors(labeled_M, bench.cache),
        holdout_ids_H=held_out_H,
        holdout_labels_H=situation.holdout_labels_H[h],
        holdout_embeddings_HD=vectors(held_out_H, bench.cache),
        head=results.head,
        pool_ids_N=results.task_ids_N[pool_N],
        probs_NC=None if results.probs_NC is None else results.probs_NC[pool_N],
        uncertainty_N=None if results.uncertainty_N is None else results.uncertainty_N[pool_N],
        map_ids_K=np.array(map_ids, dtype=np.int64),
        map_embeddings_KD=vectors(map_ids, bench.cache),
        map_labels_K=_labels_of(map_ids, situation),
        opinions=_opinions(mirror, bench.project.control.classes),
        previous_predictions=previous,
        unseen_M=unseen([hashes[int(each)] for each in labeled_M], bench.learned_from),
        curve_embeddings_MD=None if curves is None else vectors(labeled_M, curves),
        curve_embeddings_HD=None if curves is None else vectors(held_out_H, curves),
        curve_note=note,
    )


def _labeled_at(mirror: Mirror) -> dict[int, int]:
    """Return for each task the number of its first usable annotation: numbers only grow."""
    first: dict[int, int] = {}
    for each in mirror.annotations:
        if each.choice is not None and not each.was_cancelled:
            first.setdefault(each.task_id, each.annotation_id)
    return first


def _in_order(ids: NDArray[np.int64], labeled_at: dict[int, int]) -> NDArray[np.int64]:
    """Return rows of `ids` in the order in which the tasks were labeled."""
    moments = np.array([labeled_at[int(task_id)] for task_id in ids], dtype=np.int64)
    return np.argsort(moments, kind="stable")


def _labels_of(task_ids: Sequence[int], situation: Situation) -> NDArray[np.int64]:
    labels = dict(zip(situation.labeled_ids_M.tolist(), situation.labels_M.tolist(), strict=True))
    labels |= dict(
        zip(situation.holdout_ids_H.tolist(), situation.holdout_labels_H.tolist(), strict=True)
    )
    return np.array([labels.get(task_id, -1) for task_id in task_ids], dtype=np.int64)


def _opinions(mirror: Mirror, classes: Sequence[str]) -> tuple[Opinion, ...]:
    rows = {name: row for row, name in enumerate(classes)}
    return tuple(
        Opinion(each.task_id, each.annotator_id, rows[each.choice])
        for each in mirror.annotations
        if not each.was_cancelled and each.choice in rows
    )
