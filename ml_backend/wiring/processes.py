"""What the processes do that the trainer starts, and the commands like them.

A fine-tune, a model that is put in force, an appraisal: each in a process of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ml_backend import wiring
from ml_backend.errors import ActiveLabelerError, ConfigurationError
from ml_backend.jobs.held_job import HeldJob, held_job
from ml_backend.jobs.store import Store
from ml_backend.settings import Settings
from ml_backend.wiring import utc_now
from ml_backend.wiring.backbone_shelf import Backbones

if TYPE_CHECKING:
    from ml_backend.learning.distributed import Distributed
    from ml_backend.learning.embedding_cache import EmbeddingCache
    from ml_backend.steps.evidence import AppraisalBench
    from ml_backend.steps.workbench import Sides

log = logging.getLogger(__name__)


def run_fine_tune(
    settings: Settings,
    store: Store,
    fine_tune_id: int,
    stopping: threading.Event,
    process: Distributed | None = None,
    sides: Sides | None = None,
) -> str:
    """Work on a fine-tune in this process until it ends, and return how.

    Raises LeaseLost where another process works on it.
    """
    from ml_backend.fine_tune import run_fine_tune as run
    from ml_backend.jobs.held_fine_tune import held_fine_tune
    from ml_backend.jobs.trainer import trainer_name
    from ml_backend.wiring.fine_tunes import tuning_bench

    backbones = Backbones(settings)
    workbench = wiring.workbench_factory(settings, store, backbones=backbones, sides=sides)
    with held_fine_tune(store, fine_tune_id, trainer_name(), utc_now, stopping) as held:
        bench = workbench(held.record.project_id, lambda: None)
        return run(tuning_bench(settings, bench, held, backbones, process))


def follow_fine_tune(
    settings: Settings, store: Store, process: Distributed, stopping: threading.Event
) -> None:
    """Train along with rank 0, which tells what; judge and register nothing."""
    from ml_backend.fine_tune import follow_fine_tune as follow
    from ml_backend.jobs.held_fine_tune import HeldFineTune
    from ml_backend.wiring.fine_tunes import tuning_bench

    record = store.fine_tune(int(process.words_from_rank_0(None)))
    held = HeldFineTune(store, record, f"rank {process.rank}", utc_now, stopping)
    backbones = Backbones(settings)
    workbench = wiring.workbench_factory(settings, store, backbones=backbones)
    bench = workbench(record.project_id, lambda: None)
    follow(tuning_bench(settings, bench, held, backbones, process))


def run_job(settings: Settings, store: Store, job_id: int, stopping: threading.Event) -> None:
    """Work on a job in this process until it ends. Raises LeaseLost where it is another's."""
    from ml_backend.jobs.trainer import trainer_name

    with held_job(store, job_id, trainer_name(), utc_now, stopping) as held:
        WORK[held.record.kind](settings, store, held)


def appraise_now(settings: Settings, store: Store, project_id: int) -> dict[str, Any]:
    """Appraise a project. Raises ConfigurationError before its first round."""
    from ml_backend.appraise import appraise_project

    return appraise_project(_appraisal_bench(settings, store, project_id), utc_now())


def _appraise(settings: Settings, store: Store, held: HeldJob) -> None:
    held.tell("appraising")
    appraise_now(settings, store, held.record.project_id)


def _promote(settings: Settings, store: Store, held: HeldJob) -> None:
    _put_in_force(settings, store, held, held.record.arguments["model"], "promoted by hand")


def _roll_back(settings: Settings, store: Store, held: HeldJob) -> None:
    _put_in_force(settings, store, held, held.record.arguments.get("model"), "rolled back by hand")


def _put_in_force(
    settings: Settings, store: Store, held: HeldJob, model: str | None, why: str
) -> None:
    """Switch to a model (None: the one before); the next round lets go of a queue that is held."""
    from ml_backend.steps.adopting import ADOPTED
    from ml_backend.wiring.model_desk import ModelDesk

    project_id = held.record.project_id
    desk = ModelDesk(settings, store, project_id)
    held.tell("loading the network")
    desk.put_in_force(model or desk.before(), why, held.tell)
    store.update_project(project_id, held=False)
    store.mark_dirty(project_id, ADOPTED, utc_now())


WORK: dict[str, Callable[[Settings, Store, HeldJob], None]] = {
    "appraise": _appraise,
    "promote": _promote,
    "rollback": _roll_back,
}


def _appraisal_bench(settings: Settings, store: Store, project_id: int) -> AppraisalBench:
    from ml_backend.learning.embedding_cache import EmbeddingCache
    from ml_backend.steps.evidence import AppraisalBench

    project = store.get_project(project_id)
    results = wiring.results_in_force(settings, project) if project else None
    if results is None or project is None:
        raise ConfigurationError(
            f"project {project_id} has had no round yet: active-labeler sync --project {project_id}"
        )
    backbones, model = Backbones(settings), results.details.get("model")
    folder, dim = settings.model_dir / "embeddings", int(results.details["dim"])
    return AppraisalBench(
        project=project,
        store=store,
        results=results,
        cache=EmbeddingCache(folder, results.backbone_key, dim),
        learned_from=backbones.learned_from(project_id, model),
        curves_of=_curves(settings, store, project_id, backbones, model),
        folder=wiring.project_folder(settings, project_id),
        seed=settings.seed,
        prelabel=settings.prelabel,
    )


def _curves(
    settings: Settings, store: Store, project_id: int, backbones: Backbones, model: str | None
) -> Callable[[Sequence[int]], tuple[EmbeddingCache | None, str]]:
    """Return what gives the embeddings of a network that has seen no label."""

    def none_needed(_task_ids: Sequence[int]) -> tuple[EmbeddingCache | None, str]:
        return None, ""

    def pretrained(task_ids: Sequence[int]) -> tuple[EmbeddingCache | None, str]:
        from ml_backend.steps.embed import embed_beside

        try:
            workbench = wiring.workbench_factory(settings, store, backbones=backbones)
            bench = workbench(project_id, lambda: None)
            backbone = backbones.of(project_id, lambda: iter(()))
            cache = backbones.cache_of(backbone)
            embed_beside(bench, backbone, cache, task_ids, lambda _done, _total: None)
        except ActiveLabelerError as error:
            return None, f"The configured backbone's embeddings cannot be had: {error}"
        names = dict(zip(*_names(store, project_id), strict=True))
        if not all(cache.has_all([str(names[task_id]) for task_id in task_ids])):
            return None, "Some labeled images cannot be read any more."
        return cache, f"Of heads on {settings.backbone} as configured; {model} has seen the labels."

    return none_needed if model is None else pretrained


def _names(store: Store, project_id: int) -> tuple[list[int], list[str | None]]:
    mirror = store.mirror(project_id)
    return mirror.task_ids.tolist(), mirror.content_hashes
