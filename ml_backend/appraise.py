"""THE STORY of an appraisal: what a project's labels say about the model, the queue and the labels.

    gather → appraise → save

`appraise_project` tells it once, in a process of its own: rounds go on meanwhile. It loads no
torch and asks Label Studio nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ml_backend.appraisal.appraising import appraise
from ml_backend.appraisal.evidence import Evidence
from ml_backend.appraisal_file import save_appraisal, write_whole
from ml_backend.jobs.store import RoundRecord
from ml_backend.lookup import TaskLookup
from ml_backend.steps.evidence import SAMPLED_TASKS, AppraisalBench, Gathered, gather, sample
from ml_backend.steps.front import reason_of
from ml_backend.steps.neighbours import nearest_labeled

PREVIEWED = 24
MOVEMENTS = 200
ROUNDS_READ = 1000  # many of them changed no order
UNREADABLE = 200
SIDE_FILE = "appraisal-predictions.json"


def appraise_project(
    bench: AppraisalBench,
    now: datetime,
    judge: Callable[[Evidence], dict[str, Any]] = appraise,
) -> dict[str, Any]:
    """Appraise a project, put it in the place of its last appraisal, and return it."""
    sides = _read_sides(bench)
    gathered = gather(bench, _predictions_before(bench, sides))
    with threadpool_limits(1):  # rounds and the annotators' server come first
        found = judge(gathered.evidence)
    appraisal = {**_facts(bench, gathered, now), **found}
    _save_sides(bench, sides, gathered)
    save_appraisal(bench.folder, appraisal)
    return appraisal


def _facts(bench: AppraisalBench, gathered: Gathered, now: datetime) -> dict[str, Any]:
    project_id = bench.project.project_id
    rounds = bench.store.rounds(project_id, limit=ROUNDS_READ)
    unreadable = list(bench.store.unreadable(project_id).items())[:UNREADABLE]
    return {
        "made_at": now.isoformat(),
        "round_id": rounds[0].round_id if rounds else 0,
        "model_version": bench.results.model_version,
        "model": bench.results.details.get("model"),
        "classes": list(bench.project.control.classes),
        "counts": _counts(gathered),
        "movement": movement(rounds),
        "queue_preview": _preview(bench, gathered),
        "unreadable": [{"task": task_id, "why": why} for task_id, why in unreadable],
    }


def _counts(gathered: Gathered) -> dict[str, int]:
    situation = gathered.situation
    trained_on, held_out = len(situation.labeled_ids_M), len(situation.holdout_ids_H)
    return {
        "tasks": len(gathered.mirror.task_ids),
        "labeled": trained_on + held_out,
        "trained_on": trained_on,
        "held_out": held_out,
        "audit": len(situation.audit_ids_A),
        "pool": situation.pool_size,
        "skipped": len(situation.skipped_ids),
        "unreadable": len(situation.unreadable_ids),
    }


def movement(rounds: Sequence[RoundRecord]) -> list[dict[str, Any]]:
    """Say of each published order how much of the one before it kept, oldest first.

    `rounds` come newest first.
    """
    told = [
        {
            "round_id": each.round_id,
            "at": (each.finished_at or each.started_at).isoformat(),
            "labels": int(each.report.get("labeled", 0)),
            "kept": float(each.report["kept"]),
        }
        for each in rounds
        if each.report.get("kept") is not None
    ]
    return told[:MOVEMENTS][::-1]


def _preview(bench: AppraisalBench, gathered: Gathered) -> list[dict[str, Any]]:
    """Describe the first tasks of the queue, as annotators get them now."""
    project_id, version = bench.project.project_id, bench.results.model_version
    fronts = {each.task_id: each for each in bench.store.fronts(project_id)}
    waiting = {*gathered.situation.ranked_ids.tolist(), *gathered.situation.behind, *fronts}
    window = [each for each in bench.store.window(project_id, version) if each in waiting]
    shown = window[:PREVIEWED]
    nearest = nearest_labeled(shown, gathered.situation, gathered.hashes, bench.cache)
    lookup = TaskLookup(bench.results)
    return [
        {
            "task": task_id,
            "place": place,
            "audit": lookup.is_audit(task_id),
            "reason": _reason(bench, lookup, task_id)
            if task_id not in fronts or lookup.is_audit(task_id)
            else reason_of(fronts[task_id]),
            **_prelabel(bench, lookup, task_id),
            "nearest": _in_words(nearest.get(task_id), bench.project.control.classes),
        }
        for place, task_id in enumerate(shown)
    ]


def _reason(bench: AppraisalBench, lookup: TaskLookup, task_id: int) -> str:
    place, reasons = lookup.place(task_id), bench.results.reasons
    return reasons[place] if place is not None and place < len(reasons) else ""


def _prelabel(bench: AppraisalBench, lookup: TaskLookup, task_id: int) -> dict[str, Any]:
    choice = lookup.prelabel(task_id) if bench.prelabel else None
    probs_C = lookup.probs(task_id)
    sure = None if choice is None or probs_C is None else float(probs_C.max())
    return {"prelabel": choice, "confidence": sure}


def _in_words(
    found: tuple[int, int, float] | None, classes: Sequence[str]
) -> dict[str, Any] | None:
    if found is None:
        return None
    task_id, class_row, similarity = found
    return {"task": task_id, "label": classes[class_row], "similarity": similarity}


# --- what two models say about the same tasks


def _predictions_before(bench: AppraisalBench, sides: Mapping[str, Any]) -> dict[int, int] | None:
    """Return what the model before said on the sample; None where there is none to compare."""
    of = "before" if sides.get("now", {}).get("version") == bench.results.model_version else "now"
    side = sides.get(of)
    if not side or side["classes"] != list(bench.project.control.classes):
        return None
    return {int(task_id): int(row) for task_id, row in side["predictions"].items()}


def _save_sides(bench: AppraisalBench, sides: Mapping[str, Any], gathered: Gathered) -> None:
    """Keep what this model says on the sample, for the next appraisal to compare with."""
    evidence = gathered.evidence
    if evidence.probs_NC is None:
        return
    drawn = sample(evidence.pool_ids_N.tolist(), gathered.hashes, SAMPLED_TASKS)
    rows = np.flatnonzero(np.isin(evidence.pool_ids_N, drawn))
    said = evidence.probs_NC[rows].argmax(axis=1).tolist()
    now = {
        "version": bench.results.model_version,
        "classes": list(evidence.classes),
        "predictions": dict(zip(evidence.pool_ids_N[rows].tolist(), said, strict=True)),
    }
    same = sides.get("now", {}).get("version") == bench.results.model_version
    before = sides.get("before" if same else "now")
    write_whole(bench.folder / SIDE_FILE, {"now": now, "before": before})


def _read_sides(bench: AppraisalBench) -> dict[str, Any]:
    """Read what was kept; a file that is no use any more is as good as none."""
    try:
        kept: dict[str, Any] = json.loads((bench.folder / SIDE_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return kept
