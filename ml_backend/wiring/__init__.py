"""The one place where concrete classes meet: settings in, whole machines out.

Everything else receives what it works with. Imports are inside the functions where a process does
not need them: the web process answers /webhook and /health without ever loading torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend import __version__
from ml_backend.appraisal_file import last_appraisal
from ml_backend.errors import ConfigurationError
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.learning.checkpoints import RoundResults, find_version, latest, load_results
from ml_backend.settings import Settings
from ml_backend.wiring.backbone_shelf import Backbones, pictures
from ml_backend.wiring.fine_tunes import job_loop, slow_loop, with_sound_model
from ml_backend.wiring.label_studio_side import (
    image_reader as image_reader,  # for other wiring, too
)
from ml_backend.wiring.label_studio_side import label_studio as label_studio
from ml_backend.wiring.label_studio_side import label_studio_sides

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_backend.connecting import Surroundings
    from ml_backend.jobs.trainer import Trainer
    from ml_backend.records import Finding
    from ml_backend.steps.workbench import Sides, Workbench
    from ml_backend.web.services import WebServices


def utc_now() -> datetime:
    """Return the time, aware."""
    return datetime.now(UTC)


def open_store(settings: Settings) -> Store:
    """Open the store of MODEL_DIR, creating the folder where it is missing."""
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    return Store.open(settings.sqlalchemy_url)


def project_folder(settings: Settings, project_id: int) -> Path:
    """Return where a project's results and own networks are kept."""
    return settings.model_dir / "projects" / str(project_id)


def results_folder(settings: Settings, project_id: int) -> Path:
    """Return where a project's rounds are saved."""
    return project_folder(settings, project_id) / "rounds"


def last_results(settings: Settings) -> Callable[[int], RoundResults | None]:
    """Return a function that loads a project's newest results, None before the first round."""

    def load(project_id: int) -> RoundResults | None:
        saved = latest(results_folder(settings, project_id))
        return load_results(saved) if saved else None

    return load


def surroundings(settings: Settings, store: Store, project_id: int) -> Surroundings:
    """Build what connect, detach and rollback work with."""
    from ml_backend.connecting import Surroundings
    from ml_backend.labelstudio.connection import Connection
    from ml_backend.labelstudio.labeling_queue import LabelingQueue
    from ml_backend.labelstudio.projects import ProjectReader

    client = label_studio(settings)
    return Surroundings(
        label_studio_url=settings.label_studio_url,
        store=store,
        reader=ProjectReader(client, project_id),
        queue_of=partial(LabelingQueue, client, project_id),
        connection=Connection(client, project_id),
        now=utc_now,
        audit_share=settings.audit_share,
        model_of=partial(_model_of, settings, project_id),
    )


def _model_of(settings: Settings, project_id: int, version: str) -> str | None:
    """Return the model that made a version's order. Raises LookupError."""
    saved = find_version(results_folder(settings, project_id), version)
    if saved is None:
        raise LookupError(version)
    model: str | None = load_results(saved).details.get("model")
    return model


def workbench_factory(
    settings: Settings,
    store: Store,
    on_progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
    backbones: Backbones | None = None,
    sides: Sides | None = None,
) -> Callable[[int, Callable[[], None]], Workbench]:
    """Return `workbench(project_id, still_ours)`, which shares the backbones.

    `sides` None: the projects are in Label Studio.
    """
    from ml_backend.steps.workbench import Workbench, plan_of

    side_of, backbones = sides or label_studio_sides(settings), backbones or Backbones(settings)
    plan = plan_of(settings)  # a mistake in it should show before the first round

    def workbench(project_id: int, still_ours: Callable[[], None]) -> Workbench:
        project = _connected(store, project_id, settings)
        project = with_sound_model(settings, store, project, backbones, utc_now)
        side = side_of(project)
        to_train_on = partial(pictures, store, project, side.images, settings.seed, on_progress)
        backbone = partial(backbones.of, project_id, to_train_on, project.model)
        return Workbench(
            project=project,
            plan=plan,
            store=store,
            reader=side.reader,
            queue=side.queue,
            images=side.images,
            backbone=backbone,
            cache=lambda: backbones.cache_of(backbone()),
            results_folder=results_folder(settings, project_id),
            now=utc_now,
            still_ours=still_ours,
            on_progress=on_progress,
            learned_from=partial(backbones.learned_from, project_id, project.model),
        )

    return workbench


def trainer(settings: Settings, store: Store, stopping: threading.Event) -> Trainer:
    """Build the trainer of this process, with its backbone loaded."""
    from ml_backend.jobs.trainer import Trainer

    backbones = Backbones(settings)
    backbones.warm_up()
    has_gpu = backbones.has_gpu()
    return Trainer(
        store=store,
        workbench=workbench_factory(settings, store, backbones=backbones),
        last_results=last_results(settings),
        reconcile_s=settings.reconcile_s,
        now=utc_now,
        stopping=stopping,
        slow=slow_loop(settings, store, utc_now, has_gpu=has_gpu),
        jobs=job_loop(settings, store, utc_now),
    )


def web_services(settings: Settings) -> WebServices:
    """Build what the web process answers with. Loads no torch until an unseen image is asked."""
    from ml_backend.web.services import WebServices

    store = open_store(settings)
    user, password = settings.basic_auth_user, settings.basic_auth_pass.get_secret_value()
    return WebServices(
        store=store,
        clock=utc_now,
        basic_auth=(user, password) if user and password else None,
        max_request_bytes=settings.max_request_bytes,
        predict=_predict(settings, store),
        backend_version=__version__,
        appraisal=lambda project_id: last_appraisal(project_folder(settings, project_id)),
    )


def explain(
    settings: Settings, store: Store, project: ConnectedProject, task_id: int
) -> dict[str, Any]:
    """Answer `why` for a task. Raises ConfigurationError before the first round."""
    from ml_backend.explaining import explain as explain_task
    from ml_backend.learning.embeddings import EmbeddingCache

    results = last_results(settings)(project.project_id)
    if results is None:
        raise ConfigurationError(
            f"project {project.project_id} has had no round yet: "
            f"active-labeler sync --project {project.project_id}"
        )
    folder, dim = settings.model_dir / "embeddings", int(results.details["dim"])
    window = store.window(project.project_id, project.current_version or "")
    wanted = {record.task_id: record for record in store.fronts(project.project_id)}
    return explain_task(
        project,
        results,
        store.mirror(project.project_id),
        EmbeddingCache(folder, results.backbone_key, dim),
        window,
        task_id,
        wanted.get(task_id),
    )


def diagnose(settings: Settings, store: Store, project_id: int) -> list[Finding]:
    """Run all of doctor's checks."""
    from ml_backend.diagnosis import diagnose as run_checks

    client = label_studio(settings)
    return run_checks(client, image_reader(settings, client), store, project_id, utc_now())


def _predict(
    settings: Settings, store: Store
) -> Callable[[int, Sequence[Mapping[str, Any]]], list[dict[str, Any]]]:
    from ml_backend.predicting import Predictor

    @cache
    def workbench() -> Callable[[int, Callable[[], None]], Workbench]:
        return workbench_factory(settings, store)

    def embed_image(
        project_id: int, backbone_key: str, task_id: int, uri: str
    ) -> NDArray[np.float32] | None:
        from ml_backend.learning.embeddings import content_hash
        from ml_backend.learning.images import decode

        bench = workbench()(project_id, lambda: None)
        data = bench.images.read(task_id, uri)
        if bench.holdout.has(content_hash(data)):
            return None  # the model must not judge itself
        image = decode(data, settings.image_max_pixels)
        backbone = bench.backbone()
        if backbone.key != backbone_key:
            return None  # the moment between a model's promotion and its first round
        embedded: NDArray[np.float32] = backbone.embed([backbone.preprocess(image)])[0]
        return embedded

    def predict(project_id: int, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        project = _connected(store, project_id, settings)
        results = results_in_force(settings, project)
        embed = partial(embed_image, project_id, results.backbone_key if results else "")
        predictor = Predictor(project, results, embed, settings.prelabel)
        return predictor.predict(tasks)

    return predict


def results_in_force(settings: Settings, project: ConnectedProject) -> RoundResults | None:
    """Load the results of the version that orders the queue, once a version."""
    saved = find_version(
        results_folder(settings, project.project_id), project.current_version or ""
    )
    return _load_once(saved) if saved else None


_load_once = lru_cache(maxsize=8)(load_results)


def _connected(store: Store, project_id: int, settings: Settings) -> ConnectedProject:
    project = store.get_project(project_id)
    if project is None:
        raise ConfigurationError(f"project {project_id} is not connected here")
    if project.label_studio_url != settings.label_studio_url:
        raise ConfigurationError(
            f"project {project_id} belongs to {project.label_studio_url}, and LABEL_STUDIO_URL is "
            f"{settings.label_studio_url}: set it back, or use another MODEL_DIR"
        )
    return project
