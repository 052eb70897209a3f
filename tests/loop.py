"""A whole loop in one process: real store, real cache, real head and strategies; a fake
Label Studio, and pictures that a few numbers describe."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_backend.errors import ImageUnreadable
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.jobs.trainer import Trainer
from ml_backend.labelstudio.labeling_config import hash_of, parse_control
from ml_backend.learning.checkpoints import latest, load_results
from ml_backend.learning.embeddings import EmbeddingCache
from ml_backend.records import WebhookEvent
from ml_backend.steps.workbench import Plan, Workbench
from tests.fake_label_studio import FakeLabelStudio, FakeQueue

DIM = 3


class ColourBackbone:
    """Embeds a picture as its mean colour: classes are told by what anybody sees."""

    key, dim, description, decode_at_least_px = "colour", DIM, "mean colour", 1

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        return np.asarray(image, dtype=np.float32).reshape(-1, 3).mean(axis=0) / 255

    def embed(self, pictures: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.stack(pictures)


@dataclass
class FakeImages:
    """Makes a task's picture up: red for multiples of three, then green, then blue, with noise."""

    unreadable: dict[int, str] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)

    def read(self, task_id: int, uri: str) -> bytes:
        self.reads.append(task_id)
        if task_id in self.unreadable:
            raise ImageUnreadable(self.unreadable[task_id])
        return picture(task_id)


def picture(task_id: int) -> bytes:
    """A PNG of 4 x 4 pixels, different for each task."""
    from io import BytesIO

    noise = np.random.default_rng(task_id).integers(0, 60, 3)
    colour = noise.tolist()
    colour[task_id % 3] = 255 - int(noise[0])
    buffer = BytesIO()
    Image.new("RGB", (4, 4), tuple(colour)).save(buffer, "PNG")
    return buffer.getvalue()


def truth(task_id: int) -> str:
    """The class of a task's picture."""
    return ("cat", "hound", "bird")[task_id % 3]


PLAN = Plan(
    strategy="uherding",
    uncertainty="margin",
    window=20,
    front=4,
    prelabel=True,
    seed=0,
    fetch_workers=2,
    batch_size=16,
    image_max_pixels=10_000,
)


@dataclass
class Loop:
    """One connected project with its trainer."""

    folder: Path
    server: FakeLabelStudio = field(default_factory=FakeLabelStudio)
    plan: Plan = PLAN
    images: FakeImages = field(default_factory=FakeImages)

    def __post_init__(self) -> None:
        self.store = Store.open(f"sqlite:///{self.folder / 'state.sqlite3'}")
        self.control = parse_control(self.server.label_config)
        self.queue = FakeQueue(self.server, self.control.classes)
        self.cache = EmbeddingCache(self.folder / "embeddings", "colour", DIM)
        self.store.save_project(
            ConnectedProject(
                project_id=self.project_id,
                label_studio_url="http://fake",
                title="a fake project",
                control=self.control,
                label_config_hash=hash_of(self.server.label_config),
                webhook_id=1,
                backend_id=1,
                backend_url="http://backend",
                secret_sha256=hashlib.sha256(b"secret").hexdigest(),
                found=self.server.settings,
                connected_at=self.server.now(),
            )
        )
        self.trainer = self.new_trainer()

    @property
    def project_id(self) -> int:
        return self.server.project_id

    def new_trainer(self) -> Trainer:
        """A trainer as after a restart: it remembers what is on disk."""

        def last_results(_project_id: int) -> object:
            saved = latest(self.folder / "rounds")
            return load_results(saved) if saved else None

        return Trainer(
            store=self.store,
            workbench=self.workbench,
            last_results=last_results,
            reconcile_s=1e9,
            now=self.now,
            stopping=threading.Event(),
        )

    def workbench(self, project_id: int, still_ours: object) -> Workbench:
        project = self.store.get_project(project_id)
        return Workbench(
            project=project,
            plan=self.plan,
            store=self.store,
            reader=self.server,
            queue=self.queue,
            images=self.images,
            backbone=lambda: ColourBackbone(),
            cache=lambda: self.cache,
            results_folder=self.folder / "rounds",
            now=self.now,
            still_ours=still_ours,
            on_progress=lambda _what, _done, _total: None,
        )

    def now(self) -> datetime:
        """Our clock agrees with the server's."""
        return max(self.server.now(), datetime(2030, 1, 1, tzinfo=UTC))

    def hear(self, action: str, *, tasks: tuple[int, ...] = (), annotations: tuple[int, ...] = ()):
        """Deliver a webhook."""
        event = WebhookEvent(action, self.project_id, tasks, annotations, self.now())
        self.store.receive(event, self.now())

    def label(self, task_id: int, choice: str | None = None, *, webhook: bool = True) -> int:
        """Annotate a task as a person would, truly unless told otherwise."""
        made = self.server.annotate(task_id, choice or truth(task_id))
        if webhook:
            self.hear("ANNOTATION_CREATED", tasks=(task_id,), annotations=(made,))
        return made

    def ask(self, reason: str = "sync") -> None:
        self.store.mark_dirty(self.project_id, reason, self.now())

    def run(self) -> None:
        """Run rounds until nothing is dirty."""
        while claim := self.store.claim("test", 30.0, self.now()):
            self.trainer.work_on(claim)
            self.store.abandon(claim, self.now())

    def last_round(self):
        return self.store.rounds(self.project_id, limit=1)[0]

    def versions(self) -> dict[str, str]:
        return {each.version: each.state for each in self.store.versions(self.project_id)}
