"""The oracle's shift in Label Studio, and what its labels were worth."""

from __future__ import annotations

import time
from functools import partial
from itertools import islice

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ml_backend import wiring
from ml_backend.learning.embedding_cache import EmbeddingCache
from ml_backend.learning.embeddings import content_hash, embed_missing
from ml_backend.settings import Settings
from ml_backend.steps.workbench import Workbench
from scripts.demonstration.curve import Measured, as_table, compare, verdict
from scripts.demonstration.images import LabeledImage, pool_place
from scripts.demonstration.memory import ANNOTATOR
from scripts.demonstration.stage import Stage
from scripts.local_label_studio import signed_in
from scripts.oracle import Answered, annotate

COLUMNS = (
    TextColumn("Annotating"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("{task.description}"),
)


def annotate_and_compare(stage: Stage, settings: Settings, tasks: int, pace_s: float) -> None:
    """Let the oracle label so many more tasks at that many seconds each; print the curve."""
    work(stage, tasks, pace_s)
    with stage.console.status("Measuring against random orders ..."):
        pool, holdout = measured(stage, settings)
        comparison = compare(
            pool, holdout, stage.memory.served, len(stage.images.classes), seed=settings.seed
        )
    stage.console.print(as_table(comparison, len(stage.images.holdout)))
    stage.console.print(verdict(comparison))


def work(stage: Stage, tasks: int, pace_s: float) -> None:
    """Annotate what Label Studio serves, one task after the other, and tell what happened."""
    memory, pool, answers = stage.memory, stage.images.pool, list[Answered]()
    with (
        signed_in(stage.studio.url, ANNOTATOR, memory.annotator_password) as client,
        Progress(*COLUMNS, console=stage.console) as progress,
    ):
        bar = progress.add_task("", total=tasks)
        shown = annotate(
            client, memory.project_id, lambda task: pool[pool_place(task["data"]["image"])].label
        )
        for answered in islice(shown, tasks):
            answers.append(answered)
            memory.served.append(pool_place(answered.image_uri))
            stage.remember()
            progress.update(bar, advance=1, description=f"order {answered.model_version}")
            time.sleep(pace_s)
    stage.console.print(_shift_report(answers, tasks))


def _shift_report(answers: list[Answered], asked: int) -> str:
    prelabeled = [answer for answer in answers if answer.suggested]
    agreed = sum(answer.suggested == answer.choice for answer in prelabeled)
    orders = len({answer.model_version for answer in answers})
    unranked = sum(answer.model_version is None for answer in answers)
    text = f"{len(answers)} tasks labeled, in {orders} successive orders of the queue; "
    text += f"the model's prelabel was right in {agreed} of {len(prelabeled)}."
    if unranked:
        text += f" {unranked} tasks came from outside the published window."
    if len(answers) < asked:
        text += " Label Studio has no more tasks for this annotator."
    return text


def measured(stage: Stage, settings: Settings) -> tuple[Measured, Measured]:
    """Embed pool and holdout with the backend's own network.

    The pool's embeddings are the backend's; the holdout has a cache of its own, since the trainer
    is the only one that writes the backend's.
    """
    store = wiring.open_store(settings)
    bench = wiring.workbench_factory(settings, store, lambda *_: None)(
        stage.memory.project_id, lambda: None
    )
    backbone = bench.backbone()
    own = EmbeddingCache(stage.folder / "measuring", backbone.key, backbone.dim)
    images = stage.images
    labels_of = partial(_class_rows, images.classes)
    return (
        Measured(_embedded(bench, bench.cache(), images.pool), labels_of(images.pool)),
        Measured(_embedded(bench, own, images.holdout), labels_of(images.holdout)),
    )


def _embedded(
    bench: Workbench, cache: EmbeddingCache, images: tuple[LabeledImage, ...]
) -> NDArray[np.float32]:
    items = [(row, image.file.read_bytes) for row, image in enumerate(images)]
    for batch in embed_missing(
        bench.backbone(),
        cache,
        items,
        workers=bench.plan.fetch_workers,
        batch_size=bench.plan.batch_size,
        max_pixels=bench.plan.image_max_pixels,
    ):
        for row, result in batch:
            if not isinstance(result, str):
                raise click.ClickException(f"{images[row].file}: {result}")
    return cache.rows([content_hash(image.file.read_bytes()) for image in images])


def _class_rows(classes: tuple[str, ...], images: tuple[LabeledImage, ...]) -> NDArray[np.int64]:
    return np.array([classes.index(image.label) for image in images], dtype=np.int64)
