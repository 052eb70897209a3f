"""Folders that `datasets.load_dataset("imagefolder", data_dir=...)` reads.

Images beside a `metadata.jsonl`: of the tables that imagefolder takes, the one that spreadsheets do
not open and that holds every class name as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_backend.exporting.pictures import Picture, place
from ml_backend.exporting.records import LabeledImage, LabelSet

HUMAN = "huggingface/human"
MODEL = "huggingface/model"
METADATA = "metadata.jsonl"


def write(root: Path, labels: LabelSet, pictures: Mapping[int, Picture]) -> dict[int, Path]:
    """Write people's images and those of which the model is sure; return the files by task.

    A folder without any image is left out: imagefolder would refuse it.
    """
    human = _write(root / HUMAN, labels.human, pictures)
    return human | _write(root / MODEL, labels.sure, pictures)


def read(folder: Path) -> dict[int, str]:
    """Read the labels of one folder by task. Raises FileNotFoundError where an image is gone."""
    if not folder.exists():
        return {}
    lines = (folder / METADATA).read_text("utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    for row in rows:
        (folder / row["file_name"]).lstat()
    return {row["task_id"]: row["label"] for row in rows}


def _write(
    folder: Path, images: Sequence[LabeledImage], pictures: Mapping[int, Picture]
) -> dict[int, Path]:
    placed = place(pictures, lambda _image: folder, images)
    if placed:
        rows = (
            _row(image, placed[image.task_id].name) for image in images if image.task_id in placed
        )
        with (folder / METADATA).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return placed


def _row(image: LabeledImage, name: str) -> dict[str, Any]:
    row = {
        "file_name": name,
        "label": image.label,
        "source": image.source,
        "task_id": image.task_id,
        "split": image.split,
    }
    return row if image.confidence is None else {**row, "confidence": image.confidence}
