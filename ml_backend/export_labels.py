"""The story of an export: what people said, and what the model says about everything else.

    gather: mirror → consensus → the model's answers → what the holdout says of them

Works from our own records: the mirror, the embeddings and the last order's results. Knows no files
of the export (`exporting` writes them) and no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml_backend.exporting.records import LabeledImage, LabelSet, LeftOut
from ml_backend.jobs.store import ConnectedProject, Mirror, RoundRecord, Store
from ml_backend.labelstudio.annotations import Verdict, consensus
from ml_backend.learning.calibration_error import calibration_error
from ml_backend.learning.checkpoints import RoundResults
from ml_backend.learning.evaluation import proportion
from ml_backend.learning.head import Head
from ml_backend.steps.holdout import Holdout

DIGITS = 6  # of a confidence: what is written is what is compared with the threshold
ALL_ROUNDS = 1_000_000
_ROWS_AT_ONCE = 16_384

Embeddings = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Model:
    """What answers for images: a round's results, and the embeddings of the same network.

    `card` is the registry's, for a fine-tuned network.
    """

    results: RoundResults
    has_vector: Callable[[str], bool]
    vectors: Embeddings
    card: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Answerer:
    """A model that can answer, or the reason why there is none."""

    head: Head | None
    model: Model | None
    why_not: str


def gather(
    store: Store,
    project: ConnectedProject,
    model: Model | None,
    *,
    threshold: float,
    human_only: bool,
    now: datetime,
    code_version: str,
) -> LabelSet:
    """Gather the labels of a project as our mirror knows them now.

    A task that people looked at without settling on one class gets no label of the model either.
    """
    mirror = store.mirror(project.project_id)
    verdicts = consensus(mirror.annotations, project.control.classes)
    human = _human_labels(mirror, verdicts, project)
    answerer = _answerer(project, model, human_only=human_only)
    rest = _reasons(mirror, verdicts, answerer)
    answers = _answers(answerer, mirror, [row for row, reason in rest.items() if reason is None])
    holdout = Holdout(project.audit_share, project.project_id)
    machine = [_machine_label(mirror, row, holdout, *answer) for row, answer in answers.items()]
    left_out = [
        LeftOut(int(mirror.task_ids[row]), mirror.image_uris[row], reason)
        for row, reason in rest.items()
        if reason is not None
    ]
    trust = measure_trust(answerer, human, threshold)
    return LabelSet(
        project=_project_facts(project),
        control=project.control,
        human=tuple(human),
        model=tuple(machine),
        left_out=tuple(left_out),
        threshold=threshold,
        model_version=model.results.model_version if model else "",
        trust=trust,
        model_card=_card(answerer, trust),
        learning_curve=learning_curve(store.rounds(project.project_id, limit=ALL_ROUNDS)),
        made_at=now.isoformat(timespec="seconds"),
        code_version=code_version,
    )


def learning_curve(rounds: Sequence[RoundRecord]) -> tuple[dict[str, Any], ...]:
    """Return the accuracy on the holdout of every round that measured one, oldest first."""
    measured = [each for each in rounds if each.report.get("holdout_accuracy") is not None]
    return tuple(
        {
            "round": each.round_id,
            "finished_at": each.finished_at.isoformat() if each.finished_at else None,
            "model_version": each.model_version,
            "labeled": each.report["labeled"],
            "trained_on": each.report["trained_on"],
            "held_out": each.report["held_out"],
            "holdout_accuracy": each.report["holdout_accuracy"],
            "low": each.report["holdout_interval"][0],
            "high": each.report["holdout_interval"][1],
        }
        for each in sorted(measured, key=lambda record: record.round_id)
    )


def measure_trust(
    answerer: _Answerer, human: Sequence[LabeledImage], threshold: float
) -> dict[str, Any]:
    """Say how often the model is right on holdout labels that it was not trained on.

    Shares come with Wilson's 95 % interval. `n` is 0, and nothing else is said, without a holdout
    label that the model can be asked about.
    """
    head, model = answerer.head, answerer.model
    if head is None or model is None:
        return {"n": 0}
    class_rows = {name: row for row, name in enumerate(model.results.classes)}
    trained_on = set(model.results.labeled_ids_M.tolist())  # of the holdout none, as things stand
    measured = [
        (image.content_hash, class_rows[image.label])
        for image in human
        if image.split == "holdout" and image.task_id not in trained_on
        if image.content_hash and model.has_vector(image.content_hash)
    ]
    if not measured:
        return {"n": 0, "calibrated_on": head.calibrated_on}
    hashes, labels = zip(*measured, strict=True)
    labels_H = np.array(labels, dtype=np.int64)
    probs_HC = head.probs(model.vectors(hashes))
    right_H = probs_HC.argmax(axis=1) == labels_H
    above_H = _rounded(probs_HC.max(axis=1)) >= threshold
    error = calibration_error(probs_HC, labels_H)
    return {
        "n": len(labels_H),
        "accuracy": asdict(proportion(int(right_H.sum()), len(labels_H))),
        "above_threshold": _share_right(right_H[above_H]),
        "below_threshold": _share_right(right_H[~above_H]),
        "calibration_error": asdict(error) if error else None,
        "calibrated_on": head.calibrated_on,
    }


def _human_labels(
    mirror: Mirror, verdicts: dict[int, Verdict], project: ConnectedProject
) -> list[LabeledImage]:
    holdout = Holdout(project.audit_share, project.project_id)
    annotators: dict[int, list[int]] = {}
    for each in mirror.annotations:
        if each.choice is not None and each.annotator_id is not None and not each.was_cancelled:
            annotators.setdefault(each.task_id, []).append(each.annotator_id)
    labels = []
    for row, task_id in enumerate(mirror.task_ids.tolist()):
        verdict = verdicts.get(task_id)
        if verdict is None or verdict.choice is None:
            continue
        labels.append(
            LabeledImage(
                task_id=task_id,
                image_uri=mirror.image_uris[row],
                label=verdict.choice,
                source="human",
                annotators=tuple(dict.fromkeys(annotators.get(task_id, ()))),
                split=_split(holdout, mirror.content_hashes[row]),
                content_hash=mirror.content_hashes[row],
            )
        )
    return labels


def _answerer(project: ConnectedProject, model: Model | None, *, human_only: bool) -> _Answerer:
    """Find out whether the model can answer at all."""
    why_not = ""
    if human_only:
        why_not = "nobody has labeled it"
    elif model is None:
        why_not = "there is no model: no round has run yet"
    elif model.results.head is None:
        why_not = "there is no model: nothing that it may learn from was labeled in the last round"
    elif model.results.classes != project.control.classes:
        why_not = "the labeling config has other classes than the model: run a sync first"
    if why_not:
        return _Answerer(None, None, why_not)
    assert model is not None
    return _Answerer(model.results.head, model, "")


def _reasons(
    mirror: Mirror, verdicts: dict[int, Verdict], answerer: _Answerer
) -> dict[int, str | None]:
    """Say of each row without a human label why it gets none at all; None: the model is asked."""
    reasons: dict[int, str | None] = {}
    for row, task_id in enumerate(mirror.task_ids.tolist()):
        verdict = verdicts.get(task_id)
        if verdict is None:
            reasons[row] = _reason(mirror, row, answerer)
        elif verdict.choice is None:
            reasons[row] = _in_words(verdict)
    return reasons


def _reason(mirror: Mirror, row: int, answerer: _Answerer) -> str | None:
    unreadable, content_hash = mirror.unreadable[row], mirror.content_hashes[row]
    if answerer.model is None:
        return answerer.why_not
    if unreadable is not None:
        return f"its image cannot be read: {unreadable}"
    if content_hash is None or not answerer.model.has_vector(content_hash):
        return "its image is not embedded yet by the network in force"
    return None


def _in_words(verdict: Verdict) -> str:
    votes = ", ".join(f"{choice} ({count})" for choice, count in verdict.votes)
    told = {
        "skipped": "everybody who looked at it skipped it",
        "empty": "annotated, with no class chosen",
        "tie": "people disagree",
        "disagreement": "people disagree",
        "unknown choice": "labeled with what the labeling config no longer has",
    }[verdict.status]
    return f"{told}: {votes}" if votes else told


def _answers(
    answerer: _Answerer, mirror: Mirror, rows: Sequence[int]
) -> dict[int, tuple[str, float]]:
    """Ask the head for class and confidence of mirror rows, which all have a vector."""
    head, model = answerer.head, answerer.model
    answers: dict[int, tuple[str, float]] = {}
    if head is None or model is None:
        return answers
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        probs_NC = head.probs(model.vectors([str(mirror.content_hashes[row]) for row in some]))
        top_N, confidence_N = probs_NC.argmax(axis=1), _rounded(probs_NC.max(axis=1))
        for row, top, confidence in zip(some, top_N.tolist(), confidence_N.tolist(), strict=True):
            answers[row] = (model.results.classes[top], confidence)
    return answers


def _machine_label(
    mirror: Mirror, row: int, holdout: Holdout, label: str, confidence: float
) -> LabeledImage:
    return LabeledImage(
        task_id=int(mirror.task_ids[row]),
        image_uri=mirror.image_uris[row],
        label=label,
        source="model",
        confidence=confidence,
        split=_split(holdout, mirror.content_hashes[row]),
        content_hash=mirror.content_hashes[row],
    )


def _split(holdout: Holdout, content_hash: str | None) -> Literal["train", "holdout"] | None:
    if content_hash is None:
        return None
    return "holdout" if holdout.has(content_hash) else "train"


def _rounded(confidence_N: NDArray[np.float32]) -> NDArray[np.float64]:
    clipped_N: NDArray[np.float64] = np.clip(confidence_N.astype(np.float64), 0.0, 1.0)
    return np.asarray(np.round(clipped_N, DIGITS), np.float64)


def _share_right(right_H: NDArray[np.bool_]) -> dict[str, Any]:
    right, n = int(right_H.sum()), len(right_H)
    return {"n": n, "right": right, "accuracy": asdict(proportion(right, n))}


def _project_facts(project: ConnectedProject) -> dict[str, Any]:
    return {
        "id": project.project_id,
        "title": project.title,
        "label_studio": project.label_studio_url,
        "audit_share": project.audit_share,
    }


def _card(answerer: _Answerer, trust: dict[str, Any]) -> dict[str, Any]:
    """Describe the model that gave the labels."""
    head, model = answerer.head, answerer.model
    if head is None or model is None:
        return {"model": None, "why": answerer.why_not}
    results, seen = model.results, head.classes_seen_K.tolist()
    counts = zip(seen, head.label_counts_K.tolist(), strict=True)
    return {
        "model": results.details.get("model") or "pretrained",
        "model_version": results.model_version,
        "backbone": results.details.get("backbone"),
        "backbone_key": results.backbone_key,
        "classes": list(results.classes),
        "trained_on": head.n_labels,
        "label_counts": {results.classes[row]: count for row, count in counts},
        "temperature": head.temperature,
        "calibrated_on": head.calibrated_on,
        "holdout": trust,
        "network": model.card,
    }
