"""THE STORY: how what people labeled becomes the order in which they label on.

    collect → embed → fit → score → rank → publish

`run_round` tells it once for one project; the verbs are in `steps`. It knows what a round is and
nothing of how: Label Studio, torch, the database and the clock come in through a `Workbench` that
`wiring` builds. It must not import Flask, torch or the Label Studio SDK.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.jobs.store import Claim, FrontRecord
from ml_backend.learning.checkpoints import RoundResults, save_results
from ml_backend.learning.head import Head
from ml_backend.lookup import TaskLookup
from ml_backend.records import ChoiceControl, QueueEntry
from ml_backend.steps.collect import News, collect
from ml_backend.steps.embed import embed, time_slice, try_again
from ml_backend.steps.front import put_first, wanted_first
from ml_backend.steps.holdout import reasons_in_order
from ml_backend.steps.learn import (
    fit,
    measure,
    order_pool,
    queue_entries,
    queue_order,
    vectors,
)
from ml_backend.steps.publish import hold, new_version, publish_front, settle, stands
from ml_backend.steps.rare import mix_in_similar
from ml_backend.steps.situation import Situation, situate
from ml_backend.steps.workbench import Workbench
from strategies import Ranking

log = logging.getLogger(__name__)

# How long a round embeds before it publishes what it has: short where an annotator may be waiting.
EMBED_WHILE_LABELING_S = 1.0
EMBED_OTHERWISE_S = 20.0
# How many of the first tasks are compared, to say how much an order moved.
COMPARED = 100


@dataclass(slots=True)
class Round:
    """What one round came to. `entries` is the window of the queue, wanted first."""

    round_id: int
    state: str = "failed"  # published | unchanged | held | dry-run
    version: str | None = None
    entries: list[QueueEntry] = field(default_factory=list)
    results: RoundResults | None = None
    images_left: int = 0
    new_order: bool = False  # another one than is in force, or one that is not there as a whole
    timings_s: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def timed(self, verb: str) -> Iterator[None]:
        """Add the time that the block takes to `timings_s`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_s[verb] = self.timings_s.get(verb, 0.0) + time.perf_counter() - start

    def report(self) -> dict[str, Any]:
        """Return what the store keeps of the round, as JSON-able values."""
        timings = {verb: round(seconds, 4) for verb, seconds in self.timings_s.items()}
        return {**self.counts, "images_left": self.images_left, "timings_s": timings}


@dataclass(frozen=True, slots=True)
class Mode:
    """How a round is meant. `whole` writes the whole pool and not only the window."""

    dry_run: bool = False
    whole: bool = False
    patient: bool = False  # embed everything first, however long it takes
    release_hold: bool = False  # a queue held by a rollback is let go
    anew: bool = False  # publish, and save the model, also where the order says nothing new


def run_round(
    bench: Workbench,
    claim: Claim,
    previous: RoundResults | None,
    newer_news: Callable[[], bool],
    mode: Mode = Mode(),
) -> Round:
    """Run one round for the claimed project: collect → embed → fit → score → rank → publish.

    `previous` is the project's last results (a warm start), `newer_news` tells that somebody
    annotated meanwhile. Raises what the steps raise; the queue in force stays whole in any case,
    and the round is noted as failed.
    """
    with _recorded(bench) as this:
        with this.timed("collect"):
            news = collect(bench, claim)
            settle(bench, news.facts.settings)
        with this.timed("embed"):
            if not news.labeling:
                try_again(bench, at_once=mode.patient)
            this.images_left = embed(bench, enough=_patience(news, newer_news, mode))
        with this.timed("situate"):
            mirror = bench.store.mirror(bench.project.project_id)
            known = bench.cache().has if this.images_left else _everything
            limit = bench.plan.score_limit
            situation = situate(mirror, news.control, bench.holdout, known, limit)
            front = wanted_first(bench, mirror, situation)
            embeddings_ND = vectors(bench, situation.ranked_hashes)
            embeddings_MD = vectors(bench, situation.labeled_hashes)
        with this.timed("fit"):
            head = fit(bench, situation, embeddings_MD, news.control, previous)
        with this.timed("score"):
            probs_NC = head.probs(embeddings_ND) if head else None
        with this.timed("rank"):
            ranking = order_pool(bench, situation, probs_NC, embeddings_ND, embeddings_MD, head)
            ranking = mix_in_similar(
                bench, situation, news.control, ranking, embeddings_ND, embeddings_MD
            )
        results = _results(bench, situation, news.control, head, probs_NC, ranking, front)
        first = [each.task_id for each in front]
        this.entries = queue_entries(
            bench, situation, news.control, probs_NC, results.order_N, first, whole=mode.whole
        )
        this.counts = _counts(situation, news, head) | measure(bench, situation, head)
        publish(bench, this, results, news, previous, mode)
    return this


def publish(
    bench: Workbench,
    this: Round,
    results: RoundResults,
    news: News,
    previous: RoundResults | None,
    mode: Mode,
) -> None:
    """Put the new order in force, unless it says nothing new or is not wanted now."""
    project = bench.store.get_project(bench.project.project_id) or bench.project
    this.version = project.current_version
    this.results = replace(results, model_version=this.version or "")
    forced = project.held or (bool(this.entries) and (mode.whole or mode.anew))
    asked = forced or mode.dry_run or mode.release_hold
    if not asked and _waits_for_labels(bench, this, results, news, previous):
        this.state, this.results = "unchanged", previous  # new labels are counted from there
        return
    this.new_order = forced or not _says_nothing_new(bench, this, this.results, news, previous)
    if mode.dry_run:
        this.state = "dry-run"
    elif project.held and not mode.release_hold:
        hold(bench, this.version, news.facts.settings)
        this.state = "held"
    elif not this.new_order:
        this.state = "unchanged"
    else:
        _publish_as_new_version(bench, this, results)


def _publish_as_new_version(bench: Workbench, this: Round, results: RoundResults) -> None:
    # Before the switch: a round that is killed after it must not leave its own order held.
    bench.store.update_project(bench.project.project_id, held=False)
    former = this.version
    this.version = version = new_version(this.round_id)
    this.results = replace(results, model_version=version)
    this.counts["kept"] = _kept(bench, this, former, results)
    with this.timed("publish"):
        publish_front(bench, this.round_id, version, this.entries)
    this.counts["in_force_at"] = bench.now().isoformat()
    with this.timed("save"):
        save_results(bench.results_folder, this.results)
    this.state = "published"


def _kept(bench: Workbench, this: Round, former: str | None, results: RoundResults) -> float | None:
    """Return the share of the former order's first tasks that are among the first again.

    Of those that are still in the pool, in [0, 1]; None where there was no order before.
    """
    window = bench.store.window(bench.project.project_id, former) if former else []
    before = np.array(window[:COMPARED], dtype=np.int64)
    before = before[np.isin(before, results.task_ids_N)]
    now = [entry.task_id for entry in this.entries[:COMPARED]]
    return float(np.isin(before, now).mean()) if len(before) else None


@contextmanager
def _recorded(bench: Workbench) -> Iterator[Round]:
    """Open a round in the store and close it with its state, whatever happens short of a kill."""
    this = Round(bench.store.start_round(bench.project.project_id, bench.now()))
    try:
        yield this
    except BaseException as error:
        this.state = "failed"
        this.counts["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        bench.store.finish_round(
            this.round_id,
            bench.now(),
            state=this.state,
            model_version=this.version,
            report=this.report(),
        )


def _patience(news: News, newer_news: Callable[[], bool], mode: Mode) -> Callable[[], bool]:
    if mode.patient:
        return lambda: False
    return time_slice(EMBED_WHILE_LABELING_S if news.labeling else EMBED_OTHERWISE_S, newer_news)


def _says_nothing_new(
    bench: Workbench,
    this: Round,
    results: RoundResults,
    news: News,
    previous: RoundResults | None,
) -> bool:
    """Tell whether the queue in force already says what this round would.

    Tasks that left the pool from the front do not change what the rest says; once half of the
    window is used up, it is written anew.
    """
    if previous is None or previous.model_version != this.version:
        return False
    wanted = [entry.task_id for entry in this.entries]
    served = _still_served(bench, this, set(wanted))
    if _is_used_up(bench, this, served) or served != wanted[: len(served)]:
        return False
    before, after = TaskLookup(previous), TaskLookup(results)
    if any(before.prelabel(task_id) != after.prelabel(task_id) for task_id in served):
        return False
    return stands(bench, this.version, news.facts.settings)


def _waits_for_labels(
    bench: Workbench,
    this: Round,
    results: RoundResults,
    news: News,
    previous: RoundResults | None,
) -> bool:
    """Tell whether there are new labels, fewer than make a round, and the queue stands as it is."""
    if previous is None or previous.model_version != this.version:
        return False
    if not 0 < _labels(results) - _labels(previous) < bench.plan.labels_per_round:
        return False
    pool = set(results.task_ids_N.tolist())
    if _is_used_up(bench, this, _still_served(bench, this, pool)):
        return False
    if bench.store.fronts(bench.project.project_id):  # somebody asked for these now
        return False
    return stands(bench, this.version, news.facts.settings)


def _still_served(bench: Workbench, this: Round, pool: set[int]) -> list[int]:
    """Return what the window in force holds of these tasks, wanted first."""
    window = bench.store.window(bench.project.project_id, str(this.version))
    return [task_id for task_id in window if task_id in pool]


def _is_used_up(bench: Workbench, this: Round, served: list[int]) -> bool:
    return 2 * len(served) < min(len(this.entries), bench.plan.window)


def _labels(results: RoundResults) -> int:
    return len(results.labeled_ids_M) + len(results.holdout_ids_H)


def _everything(_content_hash: str) -> bool:
    return True


def _results(
    bench: Workbench,
    situation: Situation,
    control: ChoiceControl,
    head: Head | None,
    probs_NC: NDArray[np.float32] | None,
    ranking: Ranking,
    front: Sequence[FrontRecord],
) -> RoundResults:
    order_N = queue_order(bench, situation, ranking)
    own = [reason.text(control.classes) for reason in ranking.reasons]
    reasons = reasons_in_order(order_N, len(situation.candidate_ids_N), own)
    order_N, reasons = put_first(order_N, reasons, situation.ranked_ids, front)
    return RoundResults(
        model_version="",
        classes=control.classes,
        backbone_key=bench.backbone().key,
        task_ids_N=situation.ranked_ids,
        probs_NC=probs_NC,
        order_N=order_N,
        uncertainty_N=_known_of_candidates(ranking.uncertainty_N, len(order_N)),
        reasons=reasons,
        head=head,
        labeled_ids_M=situation.labeled_ids_M,
        labels_M=situation.labels_M,
        audit_ids_A=situation.audit_ids_A,
        holdout_ids_H=situation.holdout_ids_H,
        holdout_labels_H=situation.holdout_labels_H,
        details={
            "pool_size": situation.pool_size,
            "model": bench.project.model,
            "backbone": bench.backbone().description,
            "dim": bench.backbone().dim,
        },
    )


def _counts(situation: Situation, news: News, head: Head | None) -> dict[str, Any]:
    return {
        "looked": news.looked,
        "labeled": len(situation.labeled_ids_M) + len(situation.holdout_ids_H),
        "trained_on": len(situation.labeled_ids_M),
        "held_out": len(situation.holdout_ids_H),
        "audit": len(situation.audit_ids_A),
        "pool": situation.pool_size,
        "candidates": len(situation.candidate_ids_N),
        "waiting": len(situation.waiting_ids),
        "not_scored": len(situation.beyond_ids),
        "skipped": len(situation.skipped_ids),
        "unreadable": len(situation.unreadable_ids),
        "undecided": situation.undecided,
        "labels_hash": situation.labels_hash,
        "oof_accuracy": head.oof_accuracy if head else None,
        "temperature": head.temperature if head else None,
    }


def _known_of_candidates(
    values_N: NDArray[np.floating[Any]] | None, pool_size: int
) -> NDArray[np.float32] | None:
    """Put NaN behind the candidates' uncertainties: no strategy looked at the audit."""
    if values_N is None:
        return None
    padding = (0, pool_size - len(values_N))
    return np.pad(values_N.astype(np.float32), padding, constant_values=np.nan)
