"""Examples: the labeled images that a fine-tune learns from, fixed when it begins.

A fine-tune that was killed goes on with what it had begun with: labels that came meanwhile are for
the next one. Never holds an image of the holdout.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_backend.records import ChoiceControl
from ml_backend.steps.situation import Situation, situate
from ml_backend.steps.workbench import Workbench

_FILE = "examples.json"


@dataclass(frozen=True, slots=True)
class Examples:
    """Distinct images and their labels, by task id. Rows run in parallel."""

    classes: tuple[str, ...]
    task_ids: tuple[int, ...]
    image_uris: tuple[str, ...]
    hashes: tuple[str, ...]
    labels: tuple[int, ...]  # rows of `classes`

    @property
    def labels_M(self) -> NDArray[np.int64]:  # noqa: N802 - axes in names
        """The labels as an array (M)."""
        return np.array(self.labels, dtype=np.int64)

    def data_hash(self) -> str:
        """Name what is learned from: images, labels and classes. 16 hex digits."""
        facts = (self.classes, self.hashes, self.labels)
        return sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def items(self, bench: Workbench) -> list[tuple[str, Callable[[], bytes]]]:
        """Return each image's hash and the call that fetches it."""
        rows = zip(self.hashes, self.task_ids, self.image_uris, strict=True)
        return [(name, partial(bench.images.read, task_id, uri)) for name, task_id, uri in rows]


def remembered_examples(folder: Path, bench: Workbench) -> Examples:
    """Return the examples of a fine-tune that has begun, or gather them and write them down."""
    path = folder / _FILE
    if path.is_file():
        facts = json.loads(path.read_text("utf-8"))
        return Examples(**{name: tuple(values) for name, values in facts.items()})
    examples = gather(bench)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(examples)), "utf-8")
    part.replace(path)
    return examples


def gather(bench: Workbench) -> Examples:
    """Return what is labeled and not held out; of exact copies, the task with the lowest number.

    Copies may contradict each other, and a network cannot learn both.
    """
    project = bench.project
    mirror = bench.store.mirror(project.project_id)
    situation = situate(mirror, project.control, bench.holdout)
    uris = dict(zip(mirror.task_ids.tolist(), mirror.image_uris, strict=True))
    first: dict[str, int] = {}
    for row, name in enumerate(situation.labeled_hashes):
        first.setdefault(name, row)
    rows = list(first.values())
    task_ids = situation.labeled_ids_M[rows].tolist()
    return Examples(
        classes=project.control.classes,
        task_ids=tuple(task_ids),
        image_uris=tuple(uris[task_id] for task_id in task_ids),
        hashes=tuple(first),
        labels=tuple(situation.labels_M[rows].tolist()),
    )


def now_labeled(
    bench: Workbench,
    control: ChoiceControl,
    has_vector: Callable[[str], bool] = lambda _content_hash: True,
) -> Situation:
    """Return how the project stands now, with what was labeled since."""
    mirror = bench.store.mirror(bench.project.project_id)
    return situate(mirror, control, bench.holdout, has_vector)
