"""Class folders: human/CLASS/image and model/CLASS/image, as every image library reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ml_backend.exporting.names import task_of
from ml_backend.exporting.pictures import Picture, place
from ml_backend.exporting.records import LabelSet

Labels = dict[int, str]  # task → label


def write(
    root: Path, labels: LabelSet, folders: Mapping[str, str], pictures: Mapping[int, Picture]
) -> dict[int, Path]:
    """Put images into their classes' folders, the model's where it is sure; return the files."""
    human = place(pictures, lambda image: root / "human" / folders[image.label], labels.human)
    model = place(pictures, lambda image: root / "model" / folders[image.label], labels.sure)
    return human | model


def read(files: Iterable[str], folders: Mapping[str, str]) -> tuple[Labels, Labels]:
    """Read labels, people's and the model's, from paths relative to an export's root."""
    class_of = {folder: name for name, folder in folders.items()}
    found: dict[str, Labels] = {"human": {}, "model": {}}
    for path in files:
        match path.split("/"):
            case ["human" | "model" as source, folder, name]:
                found[source][task_of(name)] = class_of[folder]
    return found["human"], found["model"]
