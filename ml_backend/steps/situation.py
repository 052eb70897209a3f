"""Situate: turn the mirror into the arrays that learning and ranking take.

Every task is in exactly one place: labeled (trained on), undecided (annotated, but not usable),
candidate (in the pool, with a vector), waiting (in the pool, not embedded yet), skipped, or
unreadable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_backend.jobs.store import Mirror
from ml_backend.labelstudio.annotations import Verdict, consensus
from ml_backend.records import ChoiceControl


@dataclass(frozen=True, slots=True)
class Situation:
    """Where each task of a project stands. Ids and hashes run in parallel, sorted by task id."""

    labeled_ids_M: NDArray[np.int64]
    labels_M: NDArray[np.int64]  # rows of control.classes
    labeled_hashes: tuple[str, ...]
    candidate_ids_N: NDArray[np.int64]
    candidate_hashes: tuple[str, ...]
    waiting_ids: tuple[int, ...]
    skipped_ids: tuple[int, ...]
    unreadable_ids: tuple[int, ...]
    undecided: dict[str, int]  # verdict status → tasks, for the report

    @property
    def pool_size(self) -> int:
        """Tasks without a usable annotation that Label Studio may still serve."""
        behind = len(self.waiting_ids) + len(self.skipped_ids) + len(self.unreadable_ids)
        return len(self.candidate_ids_N) + behind

    @property
    def behind(self) -> tuple[int, ...]:
        """Pool tasks that no strategy can rank, in the order in which they follow the ranking."""
        return self.waiting_ids + self.skipped_ids + self.unreadable_ids


def situate(mirror: Mirror, control: ChoiceControl) -> Situation:
    """Put every task of the mirror in its place."""
    verdicts = consensus(mirror.annotations, control.classes)
    class_rows = {name: row for row, name in enumerate(control.classes)}
    places: dict[str, list[int]] = {
        name: [] for name in ("labeled", "candidate", "waiting", "skipped", "unreadable")
    }
    undecided: Counter[str] = Counter()
    for row in range(len(mirror.task_ids)):
        verdict = verdicts.get(int(mirror.task_ids[row]))
        place = _place(verdict, mirror.content_hashes[row], mirror.unreadable[row])
        if place in places:
            places[place].append(row)
        else:
            undecided[place] += 1
    labeled, candidates = places["labeled"], places["candidate"]
    choices = [verdicts[int(mirror.task_ids[row])].choice for row in labeled]
    return Situation(
        labeled_ids_M=mirror.task_ids[labeled],
        labels_M=np.array([class_rows[str(choice)] for choice in choices], dtype=np.int64),
        labeled_hashes=tuple(str(mirror.content_hashes[row]) for row in labeled),
        candidate_ids_N=mirror.task_ids[candidates],
        candidate_hashes=tuple(str(mirror.content_hashes[row]) for row in candidates),
        waiting_ids=tuple(mirror.task_ids[places["waiting"]].tolist()),
        skipped_ids=tuple(mirror.task_ids[places["skipped"]].tolist()),
        unreadable_ids=tuple(mirror.task_ids[places["unreadable"]].tolist()),
        undecided=dict(undecided),
    )


def _place(verdict: Verdict | None, content_hash: str | None, unreadable: str | None) -> str:
    if verdict is not None and verdict.status not in ("skipped", "labeled"):
        return verdict.status
    if unreadable is not None:
        return "unreadable" if verdict is None or verdict.status == "skipped" else "unseen label"
    if verdict is None:
        return "candidate" if content_hash else "waiting"
    if verdict.status == "skipped":
        return "skipped"
    return "labeled" if content_hash else "unseen label"
