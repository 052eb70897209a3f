"""The findings about single labels, in words: suspects, disagreements, second opinions.

Knows evidence and the modules that find them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.appraisal.evidence import Evidence, Opinion
from ml_backend.appraisal.heads import probs_out_of_fold
from ml_backend.appraisal.second_opinions import agreement_of, by_task, second_opinions
from ml_backend.appraisal.suspects import find_suspects

MOST = 100  # of each kind: more than anybody looks through


@dataclass(frozen=True, slots=True, eq=False)
class Blind:
    """What models say of L labels that they did not see."""

    ids_L: NDArray[np.int64]
    labels_L: NDArray[np.int64]
    probs_LC: NDArray[np.float32]


def blind(evidence: Evidence) -> Blind | None:
    """Ask about each label a model that did not see it; None without a model.

    The holdout is asked of the head in force. The labels that were trained on, out of fold: on
    embeddings of a network that saw none of them, or else of those alone that this one did not.
    """
    head = evidence.head
    if head is None:
        return None
    arrays = evidence.curve_arrays()
    embeddings_MD = evidence.embeddings_MD if arrays is None else arrays[0]
    only_unseen = evidence.unseen_M if arrays is None else None
    rows_M = np.ones(len(evidence.labels_M), bool) if only_unseen is None else only_unseen
    own = evidence.network_is_blind or arrays is None
    parts = [(evidence.holdout_ids_H, evidence.holdout_labels_H)]
    probs = [head.probs(evidence.holdout_embeddings_HD)]
    if rows_M.sum() > 1:
        parts.append((evidence.labeled_ids_M[rows_M], evidence.labels_M[rows_M]))
        probs.append(
            probs_out_of_fold(
                embeddings_MD[rows_M],
                evidence.labels_M[rows_M],
                len(evidence.classes),
                temperature=head.temperature if own else 1.0,
                seed=evidence.seed,
            )
        )
    ids, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Blind(ids, labels, np.concatenate(probs))


def label_findings(evidence: Evidence) -> dict[str, Any]:
    """Return `suspects`, `disagreements` and `second_opinions`, each at most a hundred."""
    asked, tasks = blind(evidence), by_task(evidence.opinions)
    return {
        "suspects": [] if asked is None else _suspects(asked, evidence.classes),
        "disagreements": _disagreements(tasks, evidence.classes),
        "second_opinions": [] if asked is None else _second_opinions(asked, tasks, evidence),
    }


def _suspects(asked: Blind, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    found = []
    for each in find_suspects(asked.probs_LC, asked.labels_L)[:MOST]:
        label, suggested = classes[asked.labels_L[each.row]], classes[each.suggested]
        found.append(
            {
                "task": int(asked.ids_L[each.row]),
                "label": label,
                "suggested": suggested,
                "probability": each.probability,
                "self_confidence": each.self_confidence,
                "score": each.wrong,
                "sentence": (
                    f"Labeled {label}; a model that did not see this label says {suggested} "
                    f"({100 * each.probability:.0f} %), not {label} "
                    f"({100 * each.self_confidence:.0f} %)."
                ),
            }
        )
    return found


def _disagreements(
    tasks: dict[int, list[Opinion]], classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """List the tasks whose annotators do not all say the same, least agreement first."""
    shares = {task: agreement_of(opinions) for task, opinions in tasks.items()}
    worst = sorted((task for task in tasks if shares[task] < 1), key=lambda t: (shares[t], t))
    return [
        {
            "task": task,
            "answers": [
                {"annotator": each.annotator_id, "label": classes[each.class_row]}
                for each in tasks[task]
            ],
            "agreement": shares[task],
            "sentence": _who_says_what(tasks[task], classes),
        }
        for task in worst[:MOST]
    ]


def _who_says_what(opinions: Sequence[Opinion], classes: tuple[str, ...]) -> str:
    counts = Counter(opinion.class_row for opinion in opinions).most_common()
    said = ", ".join(
        f"{n} {'says' if n == 1 else 'say'} {classes[row]}" for row, n in sorted(counts, key=_most)
    )
    return f"Of {len(opinions)} people {said}."


def _most(count: tuple[int, int]) -> tuple[int, int]:
    return -count[1], count[0]


def _second_opinions(
    asked: Blind, tasks: dict[int, list[Opinion]], evidence: Evidence
) -> list[dict[str, Any]]:
    probs = dict(zip(asked.ids_L.tolist(), asked.probs_LC, strict=True))
    least = None
    if evidence.probs_NC is not None and len(evidence.probs_NC):
        least = evidence.probs_NC[evidence.probs_NC.max(axis=1).argmin()]
    found = second_opinions(tasks, probs, least)[:MOST]
    return [
        {
            "task": each.task_id,
            "label": evidence.classes[each.class_row],
            "score": each.score,
            "sentence": (
                f"One can be {100 * each.score:.0f} % sure of this label, less than of the next "
                "new image: a second look teaches more."
            ),
        }
        for each in found
    ]
