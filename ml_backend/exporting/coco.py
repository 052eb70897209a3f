"""COCO's JSON for classification: images, categories, and annotations without a box.

One file for people's labels, one for the model's that reach the threshold: whoever trains on a COCO
file takes all its annotations for truth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_backend.exporting.names import file_name
from ml_backend.exporting.records import LabeledImage, LabelSet

HUMAN = "coco_human.json"
MODEL = "coco_model.json"


def write(root: Path, labels: LabelSet, files: Mapping[int, str], *, human_only: bool) -> None:
    """Write both files. `files` gives each image's file, relative to `root`, where it has one."""
    _write(root / HUMAN, labels, labels.human, files)
    if not human_only:
        _write(root / MODEL, labels, labels.sure, files)


def read(path: Path) -> dict[int, str]:
    """Read the labels of one file by task."""
    found = json.loads(path.read_text("utf-8"))
    names = {category["id"]: category["name"] for category in found["categories"]}
    images = {image["id"] for image in found["images"]}
    return {
        each["image_id"]: names[each["category_id"]]
        for each in found["annotations"]
        if each["image_id"] in images
    }


def _write(
    path: Path, labels: LabelSet, images: Sequence[LabeledImage], files: Mapping[int, str]
) -> None:
    # The same numbers in both files, whichever classes are in them; COCO counts from 1.
    categories = {name: number for number, name in enumerate(labels.classes, start=1)}
    whose = "people" if path.name == HUMAN else f"the model, from {labels.threshold} on"
    content: dict[str, Any] = {
        "info": {"description": f"Labels by {whose}", "date_created": labels.made_at},
        "licenses": [],
        "images": [_image(image, files) for image in images],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": [
            _annotation(number, image, categories[image.label])
            for number, image in enumerate(images, start=1)
        ],
    }
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def _image(image: LabeledImage, files: Mapping[int, str]) -> dict[str, Any]:
    named = files.get(image.task_id) or file_name(image.task_id, image.image_uri)
    return {"id": image.task_id, "file_name": named, "image_uri": image.image_uri}


def _annotation(number: int, image: LabeledImage, category: int) -> dict[str, Any]:
    annotation = {
        "id": number,
        "image_id": image.task_id,
        "category_id": category,
        "source": image.source,
    }
    return annotation if image.confidence is None else {**annotation, "score": image.confidence}
