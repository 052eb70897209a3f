"""What a fine-tune works with. `wiring` builds it; tests build it from fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ml_backend.jobs.held_fine_tune import HeldFineTune
from ml_backend.learning.recipe import Recipe
from ml_backend.learning.registry import Registry
from ml_backend.steps.workbench import Workbench

if TYPE_CHECKING:  # these load torch
    from ml_backend.learning.backbones import Backbone
    from ml_backend.learning.distributed import Distributed
    from ml_backend.learning.embeddings import EmbeddingCache


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
    track: Callable[[dict[str, float], int], None]  # metrics and their step, for opt-in trackers
    process: Distributed | None = None

    @property
    def project_id(self) -> int:
        """The project's number in Label Studio."""
        return self.bench.project.project_id

    def tell(self, state: str, **progress: Any) -> None:
        """Say how far it is, to whoever asks `status`."""
        self.held.tell(state, **progress)
