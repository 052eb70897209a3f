"""What a round works with. `wiring` builds it; tests build it from fakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.settings import Settings
from ml_backend.steps.holdout import Holdout
from strategies.table import find_strategy

if TYPE_CHECKING:  # importing a backbone's module loads torch
    from ml_backend.labelstudio.images import ImageReader
    from ml_backend.labelstudio.labeling_queue import LabelingQueue
    from ml_backend.labelstudio.projects import ProjectReader
    from ml_backend.learning.backbones import Backbone
    from ml_backend.learning.embeddings import EmbeddingCache


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings that a round obeys. Counts are tasks."""

    strategy: str
    uncertainty: str
    window: int
    front: int
    prelabel: bool
    seed: int
    fetch_workers: int
    batch_size: int
    image_max_pixels: int
    strategy_parameters: Mapping[str, Any] = field(default_factory=dict)
    class_balance: float = 0.0
    initial_strategy: str = ""  # "": what the strategy itself does without a label
    initial_labels: int = 0
    labels_per_round: int = 1
    score_limit: int = 0  # candidates that are scored; 0: all
    similar_share: float = 0.0  # of the queue, for what looks like labeled ones of these classes
    rare_classes: tuple[str, ...] = ()


def plan_of(settings: Settings) -> Plan:
    """Pick out what a round obeys.

    Raises UnknownStrategy, and ConfigurationError for a parameter that cannot be.
    """
    find_strategy(settings.strategy).check(settings.strategy_parameters)
    if settings.initial_strategy:
        find_strategy(settings.initial_strategy)
    return Plan(**{each.name: getattr(settings, each.name) for each in fields(Plan)})


@dataclass(frozen=True, slots=True)
class Side:
    """Where a project's tasks, annotations and queue are, which is Label Studio as a rule."""

    reader: ProjectReader
    queue: LabelingQueue
    images: ImageReader


Sides = Callable[[ConnectedProject], Side]


@dataclass(frozen=True, slots=True)
class Workbench:
    """The tools and the project that one round is about."""

    project: ConnectedProject
    plan: Plan
    store: Store
    reader: ProjectReader
    queue: LabelingQueue
    images: ImageReader
    backbone: Callable[[], Backbone]  # loaded at first use: a round without new images needs none
    cache: Callable[[], EmbeddingCache]
    results_folder: Path
    now: Callable[[], datetime]
    still_ours: Callable[[], None]  # raises LeaseLost where another trainer took the project over
    on_progress: Callable[[str, int, int], None]  # what, done, total
    # Content hashes of the images that the backbone was fine-tuned on: it knows them by heart.
    learned_from: Callable[[], frozenset[str]] = frozenset

    @property
    def holdout(self) -> Holdout:
        """Which images are never trained on."""
        return Holdout(self.project.audit_share, self.project.project_id)
