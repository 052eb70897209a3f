"""The whole loop in memory with a network that can be fine-tuned, for the slow story's tests.

Real: store, registry, embedding cache, a SqueezeNet (random weights, 32 px), its training, the
judging. Fake: Label Studio, and pictures of stripes whose direction is the class.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ml_backend.errors import ImageUnreadable
from ml_backend.fine_tune import run_fine_tune
from ml_backend.jobs.held_fine_tune import HeldFineTune, held_fine_tune
from ml_backend.learning.backbones import Backbone, rebuild_backbone
from ml_backend.learning.embeddings import EmbeddingCache
from ml_backend.learning.networks import feature_network
from ml_backend.learning.preprocessing import Preprocessing
from ml_backend.learning.recipe import Recipe
from ml_backend.learning.registry import Registry, unpack_hashes
from ml_backend.learning.stored_networks import backbone_of
from ml_backend.steps.tuning_bench import TuningBench, TuningPlan
from ml_backend.steps.workbench import Workbench
from tests.loop import Loop, truth

SIDE_PX = 32
# Learns the stripes in seconds on one core.
RECIPE = Recipe(
    epochs=15,
    batch_size=16,
    learning_rate=1e-3,
    layer_decay=1.0,
    ema_decay=0.0,
    augment="none",
    patience=0,
)
OWNER = "test"


@lru_cache(maxsize=1)
def random_squeezenet() -> Backbone:
    """A backbone that knows nothing, 32 px in, 512 features out; always the same."""
    import torch

    torch.set_num_threads(1)  # two threads of small products mostly wait for each other
    preprocessing = Preprocessing(SIDE_PX, SIDE_PX, (0.5,) * 3, (0.25,) * 3)
    made = Backbone(
        feature_network("squeezenet1_1", {}, (), 512),
        preprocessing,
        torch.device("cpu"),
        512,
        "random weights",
        pretrained=False,
        architecture="squeezenet1_1",
    )
    return rebuild_backbone(made.facts, made.network.state_dict(), "cpu", "random weights")


@lru_cache(maxsize=4096)
def stripes(task_id: int) -> bytes:
    """A PNG of noisy stripes: lying, standing or slanted, by the class of the task's number."""
    rng = np.random.default_rng(task_id)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    along = (x, y, x + y)[task_id % 3]
    phase, period = rng.uniform(0, 6.3), rng.uniform(5, 8)
    grey = 128 + 60 * np.sin(2 * np.pi * along / period + phase) + rng.normal(0, 45, along.shape)
    colour = rng.uniform(0.5, 1.0, 3)  # says nothing of the class
    pixels = (grey[..., None] * colour).clip(0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class StripedImages:
    """Serves the stripes."""

    unreadable: dict[int, str] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)

    def read(self, task_id: int, _uri: str) -> bytes:
        self.reads.append(task_id)
        if task_id in self.unreadable:
            raise ImageUnreadable(self.unreadable[task_id])
        return stripes(task_id)


@dataclass
class TuningLoop(Loop):
    """A loop whose network learns, too."""

    images: Any = field(default_factory=StripedImages)
    recipe: Recipe = RECIPE
    start: str = "pretrained"
    models_keep: int = 3
    pretrained: Backbone = field(default_factory=random_squeezenet)
    embeddings: Path | None = None  # the caches' folder, where loops share one

    def __post_init__(self) -> None:
        super().__post_init__()
        self.registry = Registry(self.folder / "models")
        self.forgotten: list[str] = []
        self.caches: dict[str, EmbeddingCache] = {}
        self.backbones: dict[str, tuple[Backbone, frozenset[str]]] = {}

    def cache_of(self, backbone: Backbone) -> EmbeddingCache:
        if backbone.key not in self.caches:
            folder = self.embeddings or self.folder / "embeddings"
            self.caches[backbone.key] = EmbeddingCache(folder, backbone.key, backbone.dim)
        return self.caches[backbone.key]

    def backbone_of(self, model: str | None) -> tuple[Backbone, frozenset[str]]:
        if model is None:
            return self.pretrained, frozenset()
        if model not in self.backbones:
            stored = self.registry.load(model)
            learned_from = frozenset(unpack_hashes(stored.arrays["learned_from"]))
            self.backbones[model] = backbone_of(stored, "cpu"), learned_from
        return self.backbones[model]

    def workbench(self, project_id: int, still_ours: Any) -> Workbench:
        project = self.store.get_project(project_id)
        assert project is not None
        backbone, learned_from = self.backbone_of(project.model)
        return Workbench(
            project=project,
            plan=self.plan,
            store=self.store,
            reader=self.server,
            queue=self.queue,
            images=self.images,
            backbone=lambda: backbone,
            cache=lambda: self.cache_of(backbone),
            results_folder=self.folder / "rounds",
            now=self.now,
            still_ours=still_ours,
            on_progress=lambda _what, _done, _total: None,
            learned_from=lambda: learned_from,
        )

    def tuning_bench(self, held: HeldFineTune) -> TuningBench:
        return TuningBench(
            bench=self.workbench(self.project_id, lambda: None),
            plan=TuningPlan(self.recipe, self.start, self.models_keep, 10**9, "test"),
            held=held,
            registry=self.registry,
            folder=self.folder / "fine-tunes" / str(held.record.fine_tune_id),
            pretrained=lambda: self.pretrained,
            cache_of=self.cache_of,
            forget_embeddings=self.forgotten.append,
        )

    def fine_tune(self, stopping: threading.Event | None = None) -> str:
        """Ask for a fine-tune, or take the open one, and work on it; return how it ended."""
        record = self.store.ask_fine_tune(self.project_id, "test", self.now())
        stopping = stopping or threading.Event()
        with held_fine_tune(self.store, record.fine_tune_id, OWNER, self.now, stopping) as held:
            return run_fine_tune(self.tuning_bench(held))

    def outcome(self) -> dict[str, Any]:
        return dict(self.store.fine_tunes(self.project_id, limit=1)[0].outcome)

    def model(self) -> str | None:
        project = self.store.get_project(self.project_id)
        assert project is not None
        return project.model

    def label_all_but(self, n_open: int) -> None:
        """Label all tasks but the last ones, truly."""
        tasks = list(self.server.task_table)
        for task_id in tasks[: len(tasks) - n_open]:
            self.label(task_id, truth(task_id), webhook=False)
        self.ask("sync")
        self.run()
