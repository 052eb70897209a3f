"""One process of several that train together; `test_distributed_training` starts two of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import safetensors.torch
import torch

from ml_backend.errors import Cancelled
from ml_backend.learning import finetuning
from ml_backend.learning.distributed import ALONE, Distributed
from ml_backend.learning.epochs import Epochs
from ml_backend.learning.pictures import Pictures
from ml_backend.learning.recipe import Recipe
from tests.unit.learning.small_training import LABELS, tiny_backbone


def main(rank: int, world_size: int, folder: Path) -> None:
    """Train by folder/job.json; write what this rank saw and came to."""
    torch.set_num_threads(1)
    job = json.loads((folder / "job.json").read_text())
    if world_size == 1:
        train(ALONE, job, folder)
        return
    address = f"file://{folder / job['meeting']}"
    with Distributed.join(rank, world_size, 0, address=address, use_gpu=False) as process:
        train(process, job, folder)


def train(process: Distributed, job: dict[str, object], folder: Path) -> None:
    """Run the job's recipe in this process."""
    seen: list[list[int]] = []
    reported: list[int] = []
    fetch = Epochs._augmented

    def noted(self: Epochs, epoch: int, rows: object) -> object:
        seen.append([epoch, *rows.tolist()])  # type: ignore[attr-defined]
        return fetch(self, epoch, rows)  # type: ignore[arg-type]

    Epochs._augmented = noted  # type: ignore[method-assign,assignment]
    pictures = Pictures.open(folder / "pictures")
    asked = iter(range(10_000))
    name = f"{job['name']}-{process.rank}-of-{process.world_size}"
    try:
        tuned = finetuning.fine_tune(
            tiny_backbone(),
            pictures,
            LABELS[: len(pictures)],
            3,
            Recipe(**job["recipe"]),  # type: ignore[arg-type]
            # Another folder for every rank: what others find must come from rank 0.
            folder / f"run-{process.rank}-of-{process.world_size}",
            interrupted=lambda: process.rank == 0 and next(asked) == job["stop_after"],
            on_progress=lambda progress: reported.append(progress.step),
            process=process,
        )
    except Cancelled:
        (folder / f"{name}.cancelled").touch()
        return
    classifier = {"classifier": tuned.classifier_weight.contiguous(), "bias": tuned.classifier_bias}
    safetensors.torch.save_file(tuned.state | classifier, folder / f"{name}.safetensors")
    facts = {"seen": seen, "reported": reported, "history": tuned.history}
    (folder / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
