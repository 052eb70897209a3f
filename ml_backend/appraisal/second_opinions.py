"""Which labels another person should look at: ActiveLab, and where people disagreed.

Knows class rows, who said what, and probabilities. ActiveLab (Goh and Mueller 2023,
arXiv:2301.11856) puts labeled and unlabeled tasks on one scale: how sure one can be of a task's
label, by the model and everybody who labeled it, each weighted by how much it is to be trusted, and
by an average annotator who says nothing. The lowest is worth another label most. The weights are
those of CROWDLAB (Goh, Tkachenko and Mueller 2022, arXiv:2210.06812).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_backend.appraisal.evidence import Opinion

NOBODY = -1  # stands for annotators that are not known
_SURE = 1e-6  # no share is taken for certainty, or one weight would be infinite


@dataclass(frozen=True, slots=True)
class Trust:
    """How much the model and each annotator count, above 0.

    agreement: how often annotators agree with the task's consensus where there are several, in
    (0, 1); None where no task has several, and then a label is as sure as the model thinks it is.
    """

    model: float
    annotators: Mapping[int, float]
    agreement: float | None

    @property
    def mean(self) -> float:
        """Return the weight of an average annotator."""
        return float(np.mean(list(self.annotators.values())))


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """A labeled task that another label is worth more for than a new task's first."""

    task_id: int
    class_row: int
    score: float


def by_task(opinions: Sequence[Opinion]) -> dict[int, list[Opinion]]:
    """Collect the opinions on each task, by task id; each annotator's last counts."""
    last: dict[tuple[int, object], Opinion] = {}
    for place, opinion in enumerate(opinions):
        who: object = (
            opinion.annotator_id if opinion.annotator_id is not None else f"nobody {place}"
        )
        last[opinion.task_id, who] = opinion
    tasks: dict[int, list[Opinion]] = {}
    for opinion in last.values():
        tasks.setdefault(opinion.task_id, []).append(opinion)
    return dict(sorted(tasks.items()))


def agreement_of(opinions: Sequence[Opinion]) -> float:
    """Return the share of pairs of one task's opinions that say the same; 1 of fewer than two."""
    n = len(opinions)
    same = sum(count * (count - 1) for count in Counter(o.class_row for o in opinions).values())
    return same / (n * (n - 1)) if n > 1 else 1.0


def second_opinions(
    tasks: Mapping[int, Sequence[Opinion]],
    probs: Mapping[int, NDArray[np.floating]],
    least_unlabeled: NDArray[np.floating] | None,
) -> list[SecondOpinion]:
    """Return the labeled tasks that say more than the best unlabeled one, best first.

    probs: of each task (C), by a model that did not see its label. Tasks without are left out.
    least_unlabeled: the probabilities (C) of the unlabeled task that the model is least sure of;
    None where nothing is left to label, and then every labeled task would do, so none is named.
    """
    known = {task: opinions for task, opinions in tasks.items() if task in probs}
    if not known or least_unlabeled is None:
        return []
    trust = trust_in(known, probs)
    threshold = unlabeled_score(least_unlabeled, trust)
    scored = [labeled_score(task, known[task], probs[task], trust) for task in known]
    worth = [found for found in scored if found.score < threshold]
    return sorted(worth, key=lambda found: (found.score, found.task_id))


def unlabeled_score(probs_C: NDArray[np.floating], trust: Trust) -> float:
    """Return ActiveLab's score of a task without labels, in [0, 1]."""
    top = trust.model * float(probs_C.max()) + trust.mean / len(probs_C)
    return top / (trust.model + trust.mean)


def labeled_score(
    task: int, opinions: Sequence[Opinion], probs_C: NDArray[np.floating], trust: Trust
) -> SecondOpinion:
    """Return ActiveLab's score of a task with labels, for the class that all together favour."""
    n_classes = len(probs_C)
    votes_C = trust.model * probs_C.astype(np.float64)
    weights = [trust.annotators[_who(opinion)] for opinion in opinions]
    for opinion, weight in zip(opinions, weights, strict=True):
        votes_C += weight * _said(opinion.class_row, probs_C, trust.agreement)
    favourite = int(votes_C.argmax()) if trust.agreement is not None else opinions[0].class_row
    sure = float(votes_C[favourite]) + trust.mean / n_classes
    return SecondOpinion(task, favourite, sure / (trust.model + sum(weights) + trust.mean))


def _said(
    class_row: int, probs_C: NDArray[np.floating], agreement: float | None
) -> NDArray[np.float64]:
    """Turn one answer into probabilities (C): right as often as annotators agree."""
    if agreement is None:
        return probs_C.astype(np.float64)
    said_C = np.full(len(probs_C), (1 - agreement) / max(len(probs_C) - 1, 1))
    said_C[class_row] = agreement
    return said_C


def trust_in(
    tasks: Mapping[int, Sequence[Opinion]], probs: Mapping[int, NDArray[np.floating]]
) -> Trust:
    """Weigh model and annotators by the tasks that several labeled (CROWDLAB).

    Without such tasks nothing tells them apart, and all weigh the same.
    """
    people = {_who(opinion) for opinions in tasks.values() for opinion in opinions}
    several = {task: opinions for task, opinions in tasks.items() if len(opinions) > 1}
    if not several:
        return Trust(1.0, dict.fromkeys(people, 1.0), None)
    consensus = {task: _majority(several[task], probs[task]) for task in several}
    said = [(_who(o), o.class_row == consensus[t]) for t, each in several.items() for o in each]
    common = Counter(o.class_row for each in tasks.values() for o in each).most_common(1)[0][0]
    lucky = _inside(float(np.mean([row == common for row in consensus.values()])))
    model = float(np.mean([probs[t].argmax() == row for t, row in consensus.items()]))
    answers = float(np.mean([len(each) for each in tasks.values()]))
    weights = _annotator_weights(people, several, lucky)
    return Trust(
        model=_above_chance(model, lucky) * float(np.sqrt(answers)),
        annotators=weights,
        agreement=_inside(float(np.mean([right for _, right in said]))),
    )


def _annotator_weights(
    people: set[int], several: Mapping[int, Sequence[Opinion]], lucky: float
) -> dict[int, float]:
    """Weigh each by how often the others agree; who never met another gets the average."""
    met: dict[int, list[bool]] = {}
    for opinions in several.values():
        for one in opinions:
            others = [o for o in opinions if o is not one]
            met.setdefault(_who(one), []).extend(o.class_row == one.class_row for o in others)
    weights = {who: _above_chance(float(np.mean(same)), lucky) for who, same in met.items()}
    mean = float(np.mean(list(weights.values())))
    return {who: weights.get(who, mean) for who in people}


def _majority(opinions: Sequence[Opinion], probs_C: NDArray[np.floating]) -> int:
    """Return the class most said; the model decides between several."""
    counts = Counter(opinion.class_row for opinion in opinions)
    most = max(counts.values())
    return max((row for row, n in counts.items() if n == most), key=lambda row: probs_C[row])


def _above_chance(share: float, lucky: float) -> float:
    """Return how much of the errors of always saying the commonest class is avoided, at least 0."""
    return max(1.0 - (1.0 - share) / (1.0 - lucky), _SURE)


def _inside(share: float) -> float:
    return min(max(share, _SURE), 1.0 - _SURE)


def _who(opinion: Opinion) -> int:
    return NOBODY if opinion.annotator_id is None else opinion.annotator_id
