"""What a fine-tune works with. `wiring` builds it; tests build it from fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ml_backend.errors import Cancelled
from ml_backend.jobs.held_fine_tune import HeldFineTune
from ml_backend.learning.recipe import Recipe
from ml_backend.learning.registry import Registry
from ml_backend.learning.tracking import Trackers
from ml_backend.steps.workbench import Workbench

if TYPE_CHECKING:  # these load torch
    from ml_backend.learning.backbones import Backbone
    from ml_backend.learning.distributed import Distributed
    from ml_backend.learning.embeddings import EmbeddingCache
    from ml_backend.learning.epochs import Progress


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """The settings that a fine-tune obeys."""

    recipe: Recipe
    start: Literal["pretrained", "champion"]
    models_keep: int
    models_max_bytes: int
    code_version: str


@dataclass(frozen=True, slots=True)
class TuningBench:
    """The project, its models and this fine-tune.

    `bench.backbone()` is the champion; `pretrained()` the configured backbone, before any
    fine-tuning. `folder` is this fine-tune's own, and goes when it has ended.
    """

    bench: Workbench
    plan: TuningPlan
    held: HeldFineTune
    registry: Registry
    folder: Path
    pretrained: Callable[[], Backbone]
    cache_of: Callable[[Backbone], EmbeddingCache]
    forget_embeddings: Callable[[str], None]  # of a model that is gone, by its backbone's key
    process: Distributed | None = None
    trackers: Trackers = field(default_factory=Trackers)  # none, unless somebody opted in

    @property
    def project_id(self) -> int:
        """The project's number in Label Studio."""
        return self.bench.project.project_id

    def tell(self, state: str, **progress: Any) -> None:
        """Say how far it is, to whoever asks `status`."""
        self.held.tell(state, **progress)

    def tell_training(self, progress: Progress) -> None:
        """Say how far the training is. Losses that are not numbers yet are left out."""
        facts = {name: value for name, value in asdict(progress).items() if value is not None}
        self.held.tell(self.held.state, **facts)

    def between_batches(self, done: int, total: int) -> None:
        """Tell how many images are embedded, and stand aside. Raises Cancelled."""
        self.tell(self.held.state, images=done, of=total)
        self.go_on()

    def go_on(self) -> None:
        """Stand aside while a round is at work. Raises Cancelled where this is to stop."""
        self.held.give_way()
        if self.held.interrupted():
            raise Cancelled(f"the fine-tune of project {self.project_id} was stopped")
