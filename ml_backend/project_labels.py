"""Project labels: what a Label Studio project's annotations give to replay, counted and in words.

Knows tasks and what people answered. Knows two ways to them: the mirror of a project that is
connected here, and a project that is only read. Embeds and replays nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ml_backend.gathering import LabeledImage
from ml_backend.labelstudio.annotations import consensus
from ml_backend.project_source import NO_IMAGE, UNLABELED

if TYPE_CHECKING:
    from ml_backend.project_source import ProjectSource
    from ml_backend.steps.workbench import Workbench

# Why a task has no label to use, after "Left out: 3 ...". The keys are `Verdict.status`.
_REASONS = {
    UNLABELED: "that nobody has annotated",
    "skipped": "skipped",
    "tie": "with as many votes for one class as for another",
    "disagreement": "without a majority for one class",
    "unknown choice": "with a class that the labeling config does not have any more",
    "empty": "annotated without a choice",
    NO_IMAGE: "without an image",
}


@dataclass(frozen=True, slots=True)
class ProjectLabels:
    """A project's tasks as images ("": no label to use), and sentences about them.

    `notes` say what is left out, `caveats` how far a replay of the rest can be trusted.
    """

    images: list[LabeledImage]
    notes: tuple[str, ...]
    caveats: tuple[str, ...]


def labels_of_connected(bench: Workbench) -> ProjectLabels:
    """Return what the mirror of a connected project has: labels as of the last round."""
    control, mirror = bench.project.control, bench.store.mirror(bench.project.project_id)
    verdicts = consensus(mirror.annotations, control.classes)
    left_out: Counter[str] = Counter()
    images, audit = [], 0
    for task_id, uri, name in zip(
        mirror.task_ids.tolist(), mirror.image_uris, mirror.content_hashes, strict=True
    ):
        if not uri:
            left_out[NO_IMAGE] += 1
            continue
        verdict = verdicts.get(task_id)
        label = (verdict and verdict.choice) or ""
        if not label:
            left_out[verdict.status if verdict else UNLABELED] += 1
        elif name:
            audit += bench.holdout.has(name)
        read = partial(bench.images.read, task_id, uri)
        images.append(LabeledImage(f"task {task_id}", label, read, name))
    labeled = sum(bool(image.label) for image in images)
    return _told(
        images,
        left_out,
        f"{labeled - audit} of the labels were chosen by the queue, or by people before it, and "
        "are no random sample of the project: hard and rare images are too many among them. "
        f"{audit} are audit labels, drawn at random.",
        "So the accuracies here are not those of the project (the audit's are, in `status`)",
    )


def labels_of_unconnected(source: ProjectSource, max_bytes: int) -> ProjectLabels:
    """Read a project's tasks and annotations from Label Studio. Raises LabelStudioError."""
    images = [
        LabeledImage(item.key, item.label or "", partial(item.read_bytes, max_bytes))
        for item in source.items()
    ]
    return _told(
        images,
        source.left_out,
        "How it was chosen which tasks to label is not known: where a queue or a person chose, and "
        "not chance, they are no random sample of the project. No audit labels are known.",
        "So the accuracies here may not be those of the project",
    )


def _told(
    images: list[LabeledImage], left_out: Mapping[str, int], chosen: str, accuracies: str
) -> ProjectLabels:
    labeled = sum(bool(image.label) for image in images)
    tasks, have = labeled + sum(left_out.values()), "has" if labeled == 1 else "have"
    notes = [f"Of the project's {tasks} tasks {labeled} {have} a label that can be used."]
    caveats: tuple[str, ...] = ("All tasks are labeled: it does not matter how they were chosen.",)
    if left_out:
        reasons = [f"{n} {_REASONS[why]}" for why, n in Counter(left_out).most_common()]
        notes.append(f"Left out: {', '.join(reasons)}.")
        caveats = (
            chosen,
            f"{accuracies}, and gains over random may come out smaller or larger than on images "
            "that nobody chose. Trust the order of the strategies more than the size of their "
            "gains.",
        )
    return ProjectLabels(images, tuple(notes), caveats)
