"""Fit, score, rank: from embeddings and labels to an order of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ml_backend.learning.checkpoints import RoundResults
from ml_backend.learning.embedding_cache import EmbeddingCache
from ml_backend.learning.evaluation import proportion
from ml_backend.learning.head import Head, fit_head
from ml_backend.records import ChoiceControl, QueueEntry
from ml_backend.steps.holdout import interleave
from ml_backend.steps.situation import Situation
from ml_backend.steps.workbench import Plan, Workbench
from strategies import STRATEGIES, Candidates, Labeled, Ranking, rank


def vectors(bench: Workbench, hashes: Sequence[str]) -> NDArray[np.float32]:
    """Return the embeddings of these images, float32 (len(hashes), D)."""
    return bench.cache().rows(hashes)


def fit(
    bench: Workbench,
    situation: Situation,
    embeddings_MD: NDArray[np.float32],
    control: ChoiceControl,
    previous: RoundResults | None,
) -> Head | None:
    """Fit the head on what is labeled; None while nothing is.

    A head of the same backbone and classes is where the search starts.
    """
    start = None
    if previous is not None and previous.classes == control.classes:
        start = previous.head if previous.backbone_key == bench.backbone().key else None
    return fit_head(
        embeddings_MD,
        situation.labels_M,
        len(control.classes),
        previous=start,
        unseen_M=unseen(situation.labeled_hashes, bench.learned_from()),
        seed=bench.plan.seed,
    )


def fit_beside(
    bench: Workbench,
    situation: Situation,
    cache: EmbeddingCache,
    learned_from: frozenset[str],
) -> Head | None:
    """Fit a head on another backbone's embeddings, as a round would if that one were in force."""
    return fit_head(
        cache.rows(situation.labeled_hashes),
        situation.labels_M,
        len(bench.project.control.classes),
        unseen_M=unseen(situation.labeled_hashes, learned_from),
        seed=bench.plan.seed,
    )


def unseen(hashes: Sequence[str], learned_from: frozenset[str]) -> NDArray[np.bool_] | None:
    """Say of each image whether the network was not trained on it; None where it was on none."""
    if not learned_from:
        return None
    return np.array([name not in learned_from for name in hashes], dtype=bool)


def order_pool(
    bench: Workbench,
    situation: Situation,
    probs_NC: NDArray[np.float32] | None,
    embeddings_ND: NDArray[np.float32],
    embeddings_MD: NDArray[np.float32],
    head: Head | None,
) -> Ranking:
    """Rank the candidates by the configured query strategy, which may ask the head more.

    probs_NC and embeddings_ND are of `situation.ranked_ids`, whose first rows the candidates are.
    The same state gives the same ranking: the random numbers depend on the seed alone.
    """
    plan, candidates = bench.plan, slice(len(situation.candidate_ids_N))
    # As for the head: where others want the cores too, threads of one product mostly wait.
    with threadpool_limits(1, user_api="blas"):
        name, parameters = _strategy_now(plan, situation)
        return rank(
            name,
            Candidates(
                situation.candidate_ids_N,
                None if probs_NC is None else probs_NC[candidates],
                embeddings_ND[candidates],
                predict=None if head is None else head.probs,
            ),
            Labeled(embeddings_MD, situation.labels_M),
            head=plan.window,
            rng=np.random.default_rng(plan.seed),
            class_balance=plan.class_balance,
            **parameters,
        )


def _strategy_now(plan: Plan, situation: Situation) -> tuple[str, dict[str, Any]]:
    """Return the query strategy of this round, the beginning's or the rest's, and its parameters.

    The beginning's is asked at least for the first label that can be trained on.
    """
    trained_on = len(situation.labeled_ids_M)
    labeled = trained_on + len(situation.holdout_ids_H)
    begins = not trained_on or labeled < plan.initial_labels
    name = plan.initial_strategy if begins and plan.initial_strategy else plan.strategy
    takes_uncertainty = "uncertainty" in STRATEGIES[name].parameters
    parameters: dict[str, Any] = {"uncertainty": plan.uncertainty} if takes_uncertainty else {}
    return name, parameters | (dict(plan.strategy_parameters) if name == plan.strategy else {})


def measure(bench: Workbench, situation: Situation, head: Head | None) -> dict[str, Any]:
    """Return the head's accuracy on the holdout with its 95 % interval, for the report.

    Empty while nothing is held out or there is no head.
    """
    if head is None or not len(situation.holdout_ids_H):
        return {}
    said_H = head.probs(vectors(bench, situation.holdout_hashes)).argmax(axis=1)
    right = int((said_H == situation.holdout_labels_H).sum())
    accuracy = proportion(right, len(said_H))
    interval = [accuracy.low, accuracy.high]
    return {"holdout_accuracy": accuracy.value, "holdout_interval": interval}


def queue_order(bench: Workbench, situation: Situation, ranking: Ranking) -> NDArray[np.int64]:
    """Return rows of `situation.ranked_ids`, wanted first: the ranking with the audit in it."""
    n_candidates = len(situation.candidate_ids_N)
    return interleave(
        ranking.order,
        np.arange(n_candidates, n_candidates + len(situation.audit_ids_A)),
        bench.project.audit_share,
        trained_on=len(situation.labeled_ids_M),
        held_out=len(situation.holdout_ids_H),
    )


def queue_entries(
    bench: Workbench,
    situation: Situation,
    control: ChoiceControl,
    probs_NC: NDArray[np.float32] | None,
    order_N: NDArray[np.int64],
    front: Sequence[int] = (),
    *,
    whole: bool,
) -> list[QueueEntry]:
    """Return the window of the queue (or the whole of it), wanted first.

    probs_NC and order_N are of `situation.ranked_ids`. Tasks that no strategy can rank follow the
    ranked ones: not embedded yet, skipped, unreadable. `front` are tasks that people want first,
    whatever is known of them; the labeled ones come without the model's answer.
    """
    length = situation.pool_size if whole else min(bench.plan.window, situation.pool_size)
    rows = order_N[:length]
    prelabels = _prelabels(bench, situation, control, probs_NC, rows)
    ranked = situation.ranked_ids[rows].tolist()
    behind = situation.behind[: length - len(ranked)]
    labels = prelabels + [(None, None)] * len(behind)
    listed = dict(zip((*ranked, *behind), labels, strict=True))
    wanted = {task_id: listed.get(task_id, (None, None)) for task_id in front} | listed
    again = {task_id for task_id in front if not situation.in_pool(task_id)}
    size = situation.pool_size + len(again)
    return [
        QueueEntry(task_id, place, size, choice, confidence, task_id in again)
        for place, (task_id, (choice, confidence)) in enumerate(wanted.items())
    ]


def _prelabels(
    bench: Workbench,
    situation: Situation,
    control: ChoiceControl,
    probs_NC: NDArray[np.float32] | None,
    rows: NDArray[np.int64],
) -> list[tuple[str | None, float | None]]:
    if probs_NC is None or not bench.plan.prelabel:
        return [(None, None)] * len(rows)
    top = probs_NC[rows].argmax(axis=1)
    confidences = probs_NC[rows, top]
    audit = rows >= len(situation.candidate_ids_N)  # the model must not judge itself
    return [
        (None, None) if audited else (control.classes[class_row], float(confidence))
        for class_row, confidence, audited in zip(top, confidences, audit, strict=True)
    ]
