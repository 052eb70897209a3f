"""Read annotations, and settle what a task's annotations say together. Pure: no HTTP."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ml_backend.records import Annotation, ChoiceControl

Status = Literal["labeled", "tie", "disagreement", "unknown choice", "skipped", "empty"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the annotations of one task say together.

    labeled         more than half of the votes name one choice, which is `choice`
    tie             two or more choices share the most votes
    disagreement    one choice has the most votes, but not more than half
    unknown choice  the votes agree on a choice that the labeling config no longer has
    skipped         everybody who looked at the task skipped it
    empty           annotated, but with this control left empty

    Only "labeled" carries a choice and is trained on. `votes` are (choice, count), most first.
    """

    status: Status
    choice: str | None = None
    votes: tuple[tuple[str, int], ...] = ()


def read_annotation(
    raw: Mapping[str, Any], control: ChoiceControl, task_id: int | None = None
) -> Annotation:
    """Turn Label Studio's annotation into ours. `task_id` where the JSON does not carry it.

    A region of another control, or one that names several choices, is no answer. Raises
    ValueError where neither says which task it is about.
    """
    task = _id_of(raw.get("task")) if task_id is None else task_id
    if task is None:
        raise ValueError(f"annotation {raw['id']} does not say which task it belongs to")
    return Annotation(
        annotation_id=int(raw["id"]),
        task_id=task,
        annotator_id=_id_of(raw.get("completed_by")),
        choice=None if raw.get("was_cancelled") else _choice(raw.get("result"), control),
        was_cancelled=bool(raw.get("was_cancelled")),
        ground_truth=bool(raw.get("ground_truth")),
    )


def consensus(annotations: Iterable[Annotation], classes: Collection[str]) -> dict[int, Verdict]:
    """Settle each annotated task by ground truth first, then by majority.

    Each annotation that is not a skip and names a choice is one vote. Where a task has ground
    truths that name a choice, they alone vote. `classes` are the choices of the labeling config.
    """
    by_task: dict[int, list[Annotation]] = defaultdict(list)
    for annotation in annotations:
        by_task[annotation.task_id].append(annotation)
    known = frozenset(classes)
    return {task_id: _verdict(group, known) for task_id, group in by_task.items()}


def _verdict(group: Sequence[Annotation], classes: frozenset[str]) -> Verdict:
    answers = [annotation for annotation in group if not annotation.was_cancelled]
    if not answers:
        return Verdict("skipped")
    voting = [each for each in answers if each.ground_truth and each.choice is not None] or answers
    counts = Counter(each.choice for each in voting if each.choice is not None)
    if not counts:
        return Verdict("empty")
    votes = tuple(sorted(counts.items(), key=lambda vote: (-vote[1], vote[0])))
    (winner, most), rest = votes[0], votes[1:]
    if rest and rest[0][1] == most:
        return Verdict("tie", votes=votes)
    if 2 * most <= counts.total():
        return Verdict("disagreement", votes=votes)
    if winner not in classes:
        return Verdict("unknown choice", votes=votes)
    return Verdict("labeled", winner, votes)


def _choice(result: object, control: ChoiceControl) -> str | None:
    if not isinstance(result, list):
        return None
    for region in result:
        if not isinstance(region, dict) or region.get("from_name") != control.from_name:
            continue
        value = region.get("value")
        chosen = value.get("choices") if isinstance(value, dict) else None
        if isinstance(chosen, list) and len(chosen) == 1 and isinstance(chosen[0], str):
            return chosen[0]
    return None


def _id_of(reference: object) -> int | None:
    """Read an id that Label Studio gives bare in one place and as an object in another."""
    if isinstance(reference, dict):
        reference = reference.get("id")
    return reference if isinstance(reference, int) else None
