"""What a fine-tune works with, the processes beside it, and sound models."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from ml_backend import __version__
from ml_backend.errors import ConfigurationError, CorruptFile, UnknownModel
from ml_backend.jobs.background import Process
from ml_backend.jobs.held_fine_tune import HeldFineTune
from ml_backend.jobs.job_loop import JobLoop
from ml_backend.jobs.slow_loop import FineTunePolicy, SlowLoop
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.learning.recipe import Recipe
from ml_backend.settings import Settings
from ml_backend.wiring.backbone_shelf import Backbones, registry_of

if TYPE_CHECKING:
    from ml_backend.learning.distributed import Distributed
    from ml_backend.learning.tracking import Trackers
    from ml_backend.steps.tuning_bench import TuningBench
    from ml_backend.steps.workbench import Workbench

log = logging.getLogger(__name__)


def recipe_of(settings: Settings) -> Recipe:
    """Read how networks are trained. Raises ConfigurationError naming the key."""
    known = set(Recipe.__dataclass_fields__)
    unknown = sorted(settings.fine_tune_recipe.keys() - known)
    if unknown:
        raise ConfigurationError(
            f"fine_tune_recipe has no {', '.join(unknown)}; there is {', '.join(sorted(known))}"
        )
    return Recipe(**{"seed": settings.seed, **settings.fine_tune_recipe})


def slow_loop(
    settings: Settings, store: Store, now: Callable[[], datetime], *, has_gpu: bool
) -> SlowLoop:
    """Build what looks after fine-tunes in the trainer. Raises ConfigurationError."""
    recipe_of(settings)  # a mistake in it should show now, and not after a hundred labels
    by_itself = settings.fine_tune == "on" or (settings.fine_tune == "auto" and has_gpu)
    policy = FineTunePolicy(
        by_itself=by_itself,
        after_labels=settings.fine_tune_after_labels,
        after_growth=settings.fine_tune_after_growth,
    )
    return SlowLoop(store, partial(_start_process, "fine-tune"), policy, now)


def job_loop(settings: Settings, store: Store, now: Callable[[], datetime]) -> JobLoop:
    """Build what looks after jobs in the trainer."""
    return JobLoop(store, partial(_start_process, "job"), now, appraises=settings.appraise)


def _start_process(command: str, number: int) -> Process:
    """Run a fine-tune or a job in a process of its own, with this one's settings.

    In this one's process group: what ends the trainer from a terminal ends it, too.
    """
    words = [sys.executable, "-m", "scripts.active_labeler", command, "--run", str(number)]
    return subprocess.Popen(words)  # noqa: S603 - our own words


def tuning_bench(
    settings: Settings,
    bench: Workbench,
    held: HeldFineTune,
    backbones: Backbones,
    process: Distributed | None = None,
) -> TuningBench:
    """Build what a fine-tune works with, around the workbench of its project."""
    from ml_backend.steps.tuning_bench import TuningBench, TuningPlan

    project_id, fine_tune_id = bench.project.project_id, held.record.fine_tune_id
    folder = settings.model_dir / "projects" / str(project_id) / "fine-tunes" / str(fine_tune_id)
    return TuningBench(
        bench=bench,
        plan=TuningPlan(
            recipe=recipe_of(settings),
            start=settings.fine_tune_start,
            models_keep=settings.models_keep,
            models_max_bytes=settings.models_max_bytes,
            code_version=__version__,
        ),
        held=held,
        registry=registry_of(settings, project_id),
        folder=folder,
        pretrained=lambda: backbones.of(project_id, lambda: iter(())),
        cache_of=backbones.cache_of,
        forget_embeddings=backbones.forget_embeddings,
        process=process,
        trackers=_trackers(settings, f"project-{project_id}", f"fine-tune-{fine_tune_id}"),
    )


def _trackers(settings: Settings, project: str, run: str) -> Trackers:
    """Open what was opted for. Raises ConfigurationError where the extra is not installed."""
    from ml_backend.learning.tracking import MlflowTracker, TensorBoardTracker, Tracker, Trackers

    opened: list[Tracker] = []
    if settings.tensorboard:
        opened.append(TensorBoardTracker(settings.model_dir / "tensorboard" / project / run))
    if settings.mlflow_tracking_uri:
        opened.append(MlflowTracker(settings.mlflow_tracking_uri, project, run))
    return Trackers(opened)


def with_sound_model(
    settings: Settings,
    store: Store,
    project: ConnectedProject,
    backbones: Backbones,
    now: Callable[[], datetime],
) -> ConnectedProject:
    """Return the project with a model that can be read, noting one that cannot as damaged.

    The queue goes on with the model before, or with the configured backbone; `doctor` and `status`
    tell.
    """
    while project.model is not None:
        try:
            backbones.fine_tuned(project.project_id, project.model)
            return project
        except (CorruptFile, UnknownModel) as error:
            before = _model_before(settings, store, project)
            note = f"cannot be read, and {before or 'the configured backbone'} serves: {error}"
            log.error("project %d: model %s %s", project.project_id, project.model, note)
            store.switch_model(project.project_id, before, note, now(), former="damaged")
            project = replace(project, model=before)
    return project


def _model_before(settings: Settings, store: Store, project: ConnectedProject) -> str | None:
    kept = set(registry_of(settings, project.project_id).names())
    retired = [r for r in store.models(project.project_id) if r.state == "retired"]
    latest_first = sorted(retired, key=lambda record: record.changed_at, reverse=True)
    return next((r.model for r in latest_first if r.model in kept), None)
