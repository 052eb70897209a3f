"""What a run ends with: the labels as files, and the model measured on a test set of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml_backend import wiring
from ml_backend.errors import ConfigurationError
from ml_backend.exporting.export import Wish
from ml_backend.exporting.pictures import ImageFiles
from ml_backend.jobs.store import Store
from ml_backend.learning.embedding_cache import EmbeddingCache
from ml_backend.learning.embeddings import embed_missing
from ml_backend.learning.evaluation import proportion
from ml_backend.settings import Settings
from ml_backend.sources import Source
from ml_backend.wiring.export_desk import export_labels
from scripts.run.in_force import Run

if TYPE_CHECKING:  # loads torch
    from ml_backend.learning.backbones import Backbone

TEST_FILE = "test.json"


def export(
    run: Run,
    settings: Settings,
    store: Store,
    project_id: int,
    progress: Callable[[str, int, int], None],
    files: ImageFiles | None = None,
) -> dict[str, Any]:
    """Write the export that the config asks for, in the place of the one before.

    `files` None: the images are where Label Studio says.
    """
    project = store.get_project(project_id)
    if project is None:
        raise ConfigurationError(f"project {project_id} is not connected: nothing to export")
    wanted = run.config.export
    return export_labels(
        settings,
        store,
        project,
        run.export_folder,
        threshold=wanted.threshold,
        wish=Wish(formats=wanted.formats, force=True),
        links=wanted.files == "links",
        on_progress=progress,
        files=files,
    )


def measure_on_test_set(
    settings: Settings, project_id: int, backbone: Backbone, test: Source, folder: Path
) -> dict[str, Any] | None:
    """Measure the last round's model on images that were never in the project, and write it down.

    Accuracy in [0, 1] with its 95 % interval. None where there is no model. Raises
    ConfigurationError for a test set without usable labels.
    """
    results = wiring.last_results(settings)(project_id)
    if results is None or results.head is None:
        return None
    embeddings_ND, labels_N, unreadable = embedded_test_set(
        settings, results.classes, backbone, test, folder
    )
    right = int((results.head.probs(embeddings_ND).argmax(axis=1) == labels_N).sum())
    measured = {
        "model_version": results.model_version,
        "trained_on": len(results.labeled_ids_M),
        "images": len(labels_N),
        "accuracy": asdict(proportion(right, len(labels_N))),
        "unreadable": unreadable,
    }
    (folder / TEST_FILE).write_text(json.dumps(measured, indent=1))
    return measured


def embedded_test_set(
    settings: Settings, classes: Sequence[str], backbone: Backbone, test: Source, folder: Path
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Embed the images of a test set whose label is one of `classes`, in a cache of their own.

    Returns (N, D) embeddings, (N,) rows of their classes, and how many more could not be read.
    Raises ConfigurationError for a test set without usable labels.
    """
    rows = {name: row for row, name in enumerate(classes)}
    items = [item for item in test.items() if item.label in rows]
    if not items:
        raise ConfigurationError(f"{test.describe()}: no image of it has a label of the project's")
    cache = EmbeddingCache(folder / "test-embeddings", backbone.key, backbone.dim)
    fetches = ((row, item.read_bytes) for row, item in enumerate(items))
    batches = embed_missing(
        backbone,
        cache,
        fetches,
        workers=settings.fetch_workers,
        batch_size=settings.batch_size,
        max_pixels=settings.image_max_pixels,
    )
    hashes = {row: found for batch in batches for row, found in batch if isinstance(found, str)}
    labels_N = np.array([rows[str(items[row].label)] for row in hashes], dtype=np.int64)
    return cache.rows(list(hashes.values())), labels_N, len(items) - len(hashes)
