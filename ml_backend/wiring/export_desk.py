"""What an export of labels works with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend import __version__, wiring
from ml_backend.errors import CorruptFile, UnknownModel
from ml_backend.export_labels import Model, gather
from ml_backend.exporting.export import Wish, write_export
from ml_backend.exporting.pictures import ImageFiles
from ml_backend.exporting.readme import trust_in_words
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.labelstudio.images import local_file
from ml_backend.learning.checkpoints import find_version, latest, load_results
from ml_backend.learning.embedding_cache import EmbeddingCache
from ml_backend.settings import Settings
from ml_backend.wiring.backbone_shelf import registry_of

if TYPE_CHECKING:
    from ml_backend.labelstudio.images import ImageReader


def export_labels(
    settings: Settings,
    store: Store,
    project: ConnectedProject,
    target: Path,
    *,
    threshold: float,
    wish: Wish,
    links: bool,
    on_progress: Callable[[str, int, int], None],
    files: ImageFiles | None = None,
) -> dict[str, Any]:
    """Write a project's labels into a folder, checked, and return what is in it.

    `links` leads to images that are files here instead of copying them. Label Studio is asked for
    nothing but images that are not, and not even for those where `files` says where images are.
    Raises what `exporting.export.write_export` raises.
    """
    labels = gather(
        store,
        project,
        model_in_force(settings, project),
        threshold=threshold,
        human_only=wish.human_only,
        now=wiring.utc_now(),
        code_version=__version__,
    )
    files = files or _image_files(settings, links=links)
    counts = write_export(labels, target, wish, files, on_progress)
    waiting = store.counts(project.project_id).waiting
    return {
        "folder": str(target.resolve()),
        "project": project.project_id,
        "formats": wish.written,
        "threshold": threshold,
        "model_version": labels.model_version,
        "counts": counts,
        "trust": dict(labels.trust),
        "trust_in_words": "" if wish.human_only else trust_in_words(labels.trust, threshold),
        "news_waiting": waiting,  # told by Label Studio, and in no round yet
    }


def model_in_force(settings: Settings, project: ConnectedProject) -> Model | None:
    """Return the last round's model, or the one whose order a rollback holds. Raises CorruptFile.

    None where no round has run yet.
    """
    folder = wiring.results_folder(settings, project.project_id)
    # A round's results are saved a moment after its version is in force: no reason to miss them.
    held = project.current_version if project.held else None
    saved = find_version(folder, held) if held else latest(folder)
    if saved is None:
        return None
    results = load_results(saved)
    embeddings = EmbeddingCache(
        settings.model_dir / "embeddings", results.backbone_key, int(results.details["dim"])
    )
    card = _card(settings, project.project_id, results.details.get("model"))
    return Model(results, embeddings.has, embeddings.rows, card)


def _card(settings: Settings, project_id: int, model: str | None) -> dict[str, Any] | None:
    if model is None:
        return None
    try:
        return dataclasses.asdict(registry_of(settings, project_id).card(model))
    except (UnknownModel, CorruptFile) as gone:  # the labels are no worse for it
        return {"name": model, "unreadable": str(gone)}


def _image_files(settings: Settings, *, links: bool) -> ImageFiles:
    @cache
    def reader() -> ImageReader:
        return wiring.image_reader(settings, wiring.label_studio(settings))

    return ImageFiles(
        read=lambda task_id, uri: reader().read(task_id, uri),
        local_file=lambda uri: local_file(settings.local_files_here, uri),
        links=links,
        workers=settings.fetch_workers,
    )
