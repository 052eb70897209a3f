"""Backbones, loaded once a process, and the embedding cache that belongs to each.

Part of the wiring: knows settings and which class does what. torch is imported when a backbone is
first asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.learning.registry import Registry, unpack_hashes
from ml_backend.settings import Settings

if TYPE_CHECKING:
    from ml_backend.labelstudio.images import ImageReader
    from ml_backend.learning.backbones import Backbone
    from ml_backend.learning.embeddings import EmbeddingCache

# Pictures that a scratch backbone is trained on are small after all: no need to decode huge ones.
SCRATCH_MAX_PIXELS = 50_000_000


class Backbones:
    """Loads each backbone once a process, and opens its embedding cache."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded: dict[int | None, Backbone] = {}
        self._fine_tuned: dict[tuple[int, str], tuple[Backbone, frozenset[str]]] = {}
        self._caches: dict[str, EmbeddingCache] = {}

    def of(self, project_id: int, images: Callable[[], Any], model: str | None = None) -> Backbone:
        """Return the project's backbone: a fine-tuned model, or None for the configured one.

        `images` yields pictures to train `scratch` on.
        """
        if model is not None:
            return self.fine_tuned(project_id, model)[0]
        scratch = self._settings.backbone == "scratch"
        shelf = project_id if scratch else None
        with self._lock:
            if shelf is None and shelf not in self._loaded:
                self._loaded[shelf] = self._pretrained()
            elif shelf not in self._loaded:
                self._loaded[shelf] = self._scratch(project_id, images)
            return self._loaded[shelf]

    def fine_tuned(self, project_id: int, model: str) -> tuple[Backbone, frozenset[str]]:
        """Return a model of the registry, and the content hashes of what it was trained on.

        Raises CorruptFile, UnknownModel.
        """
        from ml_backend.learning.stored_networks import backbone_of

        with self._lock:
            key = (project_id, model)
            if key not in self._fine_tuned:
                stored = registry_of(self._settings, project_id).load(model)
                backbone = backbone_of(stored, self._settings.device)
                learned_from = frozenset(unpack_hashes(stored.arrays["learned_from"]))
                # One a project: those before it are as many as there were promotions.
                self._fine_tuned = {k: v for k, v in self._fine_tuned.items() if k[0] != project_id}
                self._fine_tuned[key] = (backbone, learned_from)
            return self._fine_tuned[key]

    def learned_from(self, project_id: int, model: str | None) -> frozenset[str]:
        """Return the content hashes of what a model's network was fine-tuned on."""
        return frozenset() if model is None else self.fine_tuned(project_id, model)[1]

    def has_gpu(self) -> bool:
        """Tell whether networks run on a GPU here."""
        from ml_backend.learning.backbones import choose_device

        return choose_device(self._settings.device).type == "cuda"

    def warm_up(self) -> None:
        """Load beforehand what the first round would wait for. Raises WeightsUnavailable."""
        import sklearn.linear_model  # noqa: F401 - seconds, the first time

        if self._settings.backbone != "scratch":  # that one is a project's own
            self.of(0, lambda: ())

    def cache_of(self, backbone: Backbone) -> EmbeddingCache:
        """Return the cache of a backbone's embeddings."""
        from ml_backend.learning.embeddings import EmbeddingCache

        with self._lock:
            if backbone.key not in self._caches:
                folder = self._settings.model_dir / "embeddings"
                self._caches[backbone.key] = EmbeddingCache(folder, backbone.key, backbone.dim)
            return self._caches[backbone.key]

    def _pretrained(self) -> Backbone:
        from ml_backend.learning.backbones import load_backbone
        from ml_backend.learning.preprocessing import InputChanges

        settings = self._settings
        return load_backbone(
            settings.backbone,
            settings.weights,
            settings.device,
            seed=settings.seed,
            inputs=InputChanges(
                size_px=settings.input_size_px,
                resize_px=settings.input_resize_px,
                mean=settings.input_mean,
                std=settings.input_std,
                interpolation=settings.input_interpolation,
            ),
            tensorflow_padding=settings.convolution_padding == "tensorflow",
        )

    def forget_embeddings(self, backbone_key: str) -> None:
        """Delete the embeddings of a model that is gone. A process that reads them may go on."""
        from ml_backend.learning.embedding_cache import remove_cache

        with self._lock:
            self._caches.pop(backbone_key, None)
            remove_cache(self._settings.model_dir / "embeddings", backbone_key)

    def _scratch(self, project_id: int, images: Callable[[], Any]) -> Backbone:
        from ml_backend.learning.scratch import load_scratch_backbone, train_scratch_backbone

        folder = self._settings.model_dir / "projects" / str(project_id) / "scratch"
        device = self._settings.device
        if folder.is_dir():
            return load_scratch_backbone(folder, device)
        return train_scratch_backbone(images(), folder, device, seed=self._settings.seed)


def registry_of(settings: Settings, project_id: int) -> Registry:
    """Return where a project's models are kept."""
    return Registry(settings.model_dir / "projects" / str(project_id) / "models")


def pictures(
    store: Store,
    project: ConnectedProject,
    images: ImageReader,
    seed: int,
    on_progress: Callable[[str, int, int], None],
) -> Iterator[Any]:
    """Yield the project's readable pictures in random order, to train a backbone on.

    Raises ConfigurationError where there are images and none can be read.
    """
    import numpy as np

    from ml_backend.learning.images import decode
    from ml_backend.learning.scratch import MAX_IMAGES

    mirror = store.mirror(project.project_id)
    rows = np.random.default_rng(seed).permutation(len(mirror.task_ids))
    found, reason = False, ""
    for number, row in enumerate(rows.tolist(), start=1):
        on_progress("training a network", number, min(len(rows), MAX_IMAGES))
        try:
            data = images.read(int(mirror.task_ids[row]), mirror.image_uris[row])
            picture = decode(data, SCRATCH_MAX_PIXELS)
        except ImageUnreadable as error:  # embedding, which follows, notes it
            reason = f"task {mirror.task_ids[row]}: {error}"
            continue
        found = True
        yield picture
    if reason and not found:
        raise ConfigurationError(f"none of the project's {len(rows)} images can be read; {reason}")
