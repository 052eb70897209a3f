"""Situate: turn the mirror into the arrays that learning and ranking take.

Every task is in exactly one place: labeled (trained on), held out (labeled, to measure on),
undecided (annotated, but not usable), candidate (in the pool, with a vector), audit (the same,
drawn for the holdout), beyond (in the pool, more than are scored), waiting (in the pool, not
embedded yet), skipped, or unreadable.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_backend.jobs.store import Mirror
from ml_backend.labelstudio.annotations import Verdict, consensus
from ml_backend.records import ChoiceControl
from ml_backend.steps.holdout import Holdout


@dataclass(frozen=True, slots=True)
class Situation:
    """Where each task of a project stands. Ids and hashes run in parallel.

    Sorted by task id, but for the audit, which is in the order of the draw.
    """

    labeled_ids_M: NDArray[np.int64]
    labels_M: NDArray[np.int64]  # rows of control.classes
    labeled_hashes: tuple[str, ...]
    holdout_ids_H: NDArray[np.int64]
    holdout_labels_H: NDArray[np.int64]
    holdout_hashes: tuple[str, ...]
    candidate_ids_N: NDArray[np.int64]
    candidate_hashes: tuple[str, ...]
    audit_ids_A: NDArray[np.int64]
    audit_hashes: tuple[str, ...]
    waiting_ids: tuple[int, ...]
    skipped_ids: tuple[int, ...]
    unreadable_ids: tuple[int, ...]
    undecided: dict[str, int]  # verdict status → tasks, for the report
    beyond_ids: tuple[int, ...] = ()  # in the order in which they come up to be scored

    @property
    def pool_size(self) -> int:
        """Tasks without a usable annotation that Label Studio may still serve."""
        behind = len(self.waiting_ids) + len(self.skipped_ids) + len(self.unreadable_ids)
        ranked = len(self.candidate_ids_N) + len(self.audit_ids_A)
        return ranked + len(self.beyond_ids) + behind

    @property
    def ranked_hashes(self) -> tuple[str, ...]:
        """The images of `ranked_ids`."""
        return self.candidate_hashes + self.audit_hashes

    @property
    def ranked_ids(self) -> NDArray[np.int64]:
        """Tasks that have a place by their image: the candidates, then the audit (N + A)."""
        return np.concatenate([self.candidate_ids_N, self.audit_ids_A])

    @property
    def behind(self) -> tuple[int, ...]:
        """Pool tasks that no strategy can rank, in the order in which they follow the ranking."""
        return self.beyond_ids + self.waiting_ids + self.skipped_ids + self.unreadable_ids

    @property
    def labels_hash(self) -> str:
        """Tell one set of labels from another: which tasks are labeled, and how."""
        digest = hashlib.sha256()
        for ids, labels in (
            (self.labeled_ids_M, self.labels_M),
            (self.holdout_ids_H, self.holdout_labels_H),
        ):
            digest.update(ids.tobytes() + labels.tobytes())
        return digest.hexdigest()[:16]

    def in_pool(self, task_id: int) -> bool:
        """Tell whether a task waits for its first usable label."""
        return bool((self.ranked_ids == task_id).any()) or task_id in self.behind


def situate(
    mirror: Mirror,
    control: ChoiceControl,
    holdout: Holdout,
    has_vector: Callable[[str], bool] = lambda _content_hash: True,
    score_limit: int = 0,
) -> Situation:
    """Put every task of the mirror in its place.

    `has_vector` tells of a content hash whether the backbone has embedded it: another one may be
    in force than when the image was first seen. `score_limit` is how many candidates there may be
    (0: any number): a random sample that grows by the next of the draw as it is labeled.
    """
    verdicts = consensus(mirror.annotations, control.classes)
    class_rows = {name: row for row, name in enumerate(control.classes)}
    places: dict[str, list[int]] = {
        name: [] for name in ("labeled", "candidate", "waiting", "skipped", "unreadable")
    }
    undecided: Counter[str] = Counter()
    hashes = [name if name and has_vector(name) else None for name in mirror.content_hashes]
    for row in range(len(mirror.task_ids)):
        verdict = verdicts.get(int(mirror.task_ids[row]))
        place = _place(verdict, hashes[row], mirror.unreadable[row])
        if place in places:
            places[place].append(row)
        else:
            undecided[place] += 1

    def labels(rows: list[int]) -> NDArray[np.int64]:
        choices = [verdicts[int(mirror.task_ids[row])].choice for row in rows]
        return np.array([class_rows[str(choice)] for choice in choices], dtype=np.int64)

    held_out, labeled = _split(places["labeled"], hashes, holdout)
    audit, candidates = _split(places["candidate"], hashes, holdout)
    audit.sort(key=lambda row: holdout.draw(str(hashes[row])))
    candidates, beyond = _sampled(candidates, hashes, holdout, score_limit)
    return Situation(
        labeled_ids_M=mirror.task_ids[labeled],
        labels_M=labels(labeled),
        labeled_hashes=tuple(str(hashes[row]) for row in labeled),
        holdout_ids_H=mirror.task_ids[held_out],
        holdout_labels_H=labels(held_out),
        holdout_hashes=tuple(str(hashes[row]) for row in held_out),
        candidate_ids_N=mirror.task_ids[candidates],
        candidate_hashes=tuple(str(hashes[row]) for row in candidates),
        audit_ids_A=mirror.task_ids[audit],
        audit_hashes=tuple(str(hashes[row]) for row in audit),
        waiting_ids=tuple(mirror.task_ids[places["waiting"]].tolist()),
        skipped_ids=tuple(mirror.task_ids[places["skipped"]].tolist()),
        unreadable_ids=tuple(mirror.task_ids[places["unreadable"]].tolist()),
        undecided=dict(undecided),
        beyond_ids=tuple(mirror.task_ids[beyond].tolist()),
    )


def _split(
    rows: list[int], hashes: Sequence[str | None], holdout: Holdout
) -> tuple[list[int], list[int]]:
    """Return the rows of the holdout and the others."""
    held_out = [row for row in rows if holdout.has(str(hashes[row]))]
    apart = set(held_out)
    return held_out, [row for row in rows if row not in apart]


def _sampled(
    rows: list[int], hashes: Sequence[str | None], holdout: Holdout, limit: int
) -> tuple[list[int], list[int]]:
    """Return the candidates that are scored, and the others in the order of the draw."""
    if not 0 < limit < len(rows):
        return rows, []
    drawn = sorted(rows, key=lambda row: holdout.draw(str(hashes[row])))
    return sorted(drawn[:limit]), drawn[limit:]


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
