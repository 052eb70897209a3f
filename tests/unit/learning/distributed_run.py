"""One process of several that train together; `test_distributed_training` starts two of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from ml_backend.errors import Cancelled
from ml_backend.learning.distributed import Distributed
from ml_backend.learning.epochs import Epochs
from ml_backend.learning.finetuning import fine_tune
from ml_backend.learning.pictures import Pictures
from ml_backend.learning.recipe import Recipe
from tests.unit.learning.small_training import LABELS, tiny_backbone


def main(rank: int, world_size: int, folder: Path) -> None:
    """Do every job in folder/jobs.json together with the other processes."""
    torch.set_num_threads(1)
    address = f"file://{folder / 'meeting'}"
    with Distributed.join(rank, world_size, 0, address=address, use_gpu=False) as process:
        for job in json.loads((folder / "jobs.json").read_text()):
            train(process, job, folder)


def train(process: Distributed, job: dict[str, Any], folder: Path) -> None:
    """Train by the job's recipe; write what this rank saw, and what it came to."""
    pictures, reported = Pictures.open(folder / "pictures"), []
    asked = iter(range(10_000))
    place = f"{process.rank}-of-{process.world_size}"
    with rows_seen() as seen:
        try:
            tuned = fine_tune(
                tiny_backbone(dropout=0.0),
                pictures,
                LABELS[: len(pictures)],
                3,
                Recipe(**job["recipe"]),
                # Another folder for every rank: what the others go on from must come from rank 0.
                folder / f"{job['folder']}-{place}",
                interrupted=lambda: process.rank == 0 and next(asked) == job["stop_after"],
                on_progress=lambda progress: reported.append(progress.step),
                process=process,
            )
        except Cancelled:
            (folder / f"{job['name']}-{place}.cancelled").touch()
            return
    classifier = {"classifier": tuned.classifier_weight.contiguous(), "bias": tuned.classifier_bias}
    target = folder / f"{job['name']}-{place}.safetensors"
    safetensors.torch.save_file(tuned.state | classifier, target)
    facts = {"seen": seen, "reported": reported, "history": tuned.history}
    target.with_suffix(".json").write_text(json.dumps(facts))


@contextmanager
def rows_seen() -> Iterator[list[list[int]]]:
    """List the epoch and the rows of every batch that is fetched to be learned from."""
    seen: list[list[int]] = []
    fetch = Epochs._augmented

    def noted(self: Epochs, epoch: int, rows: NDArray[np.int64]) -> Any:
        seen.append([epoch, *rows.tolist()])
        return fetch(self, epoch, rows)

    Epochs._augmented = noted  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Epochs._augmented = fetch  # type: ignore[method-assign]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
