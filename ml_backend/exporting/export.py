"""Write one export: stage → images → formats → manifest → check → move into place."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_backend.errors import ConfigurationError
from ml_backend.exporting import class_folders, coco, huggingface, label_studio, readme, tables
from ml_backend.exporting.checking import check
from ml_backend.exporting.names import class_folders as folders_of
from ml_backend.exporting.pictures import (
    ImageFiles,
    Picture,
    gather,
    refuse_links_that_lead_nowhere,
)
from ml_backend.exporting.records import FORMATS, WITH_IMAGES, LabeledImage, LabelSet
from ml_backend.exporting.stage import Stage, move_into_place, staged, write_manifest

FORMAT = 1
Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be written. The tables ("csv") always are."""

    formats: Collection[str] = ("csv",)
    human_only: bool = False
    force: bool = False

    @property
    def written(self) -> tuple[str, ...]:
        """The formats in their own order. Raises ConfigurationError for an unknown one."""
        unknown = set(self.formats) - set(FORMATS)
        if unknown:
            raise ConfigurationError(
                f"there is no format {min(unknown)!r}; there is {', '.join(FORMATS)}"
            )
        return tuple(name for name in FORMATS if name == "csv" or name in self.formats)


def write_export(
    labels: LabelSet, target: Path, wish: Wish, images: ImageFiles, on_progress: Progress
) -> dict[str, int]:
    """Write labels into a folder, whole or not at all, and return the counts.

    Counts: human, model_above, model_below, left_out, images, images_missing. Raises
    ConfigurationError for a target or a wish that cannot be, ExportFailed where what was written
    does not read back the same. Stopped while it fetches images, it goes on with those next time.
    """
    formats = wish.written
    wanted = _with_image(labels) if WITH_IMAGES & set(formats) else ()
    refuse_links_that_lead_nowhere(wanted, images)
    owner = json.dumps([labels.project["label_studio"], labels.project["id"]])
    with staged(target, owner, force=wish.force) as stage:
        pictures, missing = gather(
            stage.images, wanted, images, lambda done, n: on_progress("exporting images", done, n)
        )
        counts = _counts(labels, len(pictures), len(missing))
        _write_formats(stage, labels, wish, pictures, missing)
        _write_papers(stage.folder, labels, wish, counts)
        write_manifest(
            stage.folder,
            _facts(labels, wish, counts),
            lambda done, n: on_progress("listing files", done, n),
        )
        check(stage.folder)
        move_into_place(stage)
    return counts


def _with_image(labels: LabelSet) -> tuple[LabeledImage, ...]:
    return (*labels.human, *labels.sure)


def _write_formats(
    stage: Stage,
    labels: LabelSet,
    wish: Wish,
    pictures: Mapping[int, Picture],
    missing: Mapping[int, str],
) -> None:
    root, formats = stage.folder, wish.written
    folders = folders_of(labels.classes)
    placed: dict[int, Path] = {}
    if "huggingface" in formats:
        placed |= huggingface.write(root, labels, pictures)
    if "folders" in formats:
        placed |= class_folders.write(root, labels, folders, pictures)
    files = {task_id: path.relative_to(root).as_posix() for task_id, path in placed.items()}
    tables.write_tables(root, labels, folders, files, human_only=wish.human_only)
    rows = [{"task_id": task_id, "reason": reason} for task_id, reason in sorted(missing.items())]
    tables.write_table(root / tables.MISSING, ("task_id", "reason"), rows)
    if "label-studio" in formats:
        label_studio.write(root, labels)
    if "coco" in formats:
        coco.write(root, labels, files, human_only=wish.human_only)


def _write_papers(root: Path, labels: LabelSet, wish: Wish, counts: Mapping[str, int]) -> None:
    for name, content in (
        ("model_card.json", dict(labels.model_card)),
        ("learning_curve.json", [dict(row) for row in labels.learning_curve]),
    ):
        (root / name).write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
    told = readme.text(labels, wish.written, counts, human_only=wish.human_only)
    (root / "README.txt").write_text(told, "utf-8")


def _facts(labels: LabelSet, wish: Wish, counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "active_labeler": labels.code_version,
        "made_at": labels.made_at,
        "project": dict(labels.project),
        "model_version": labels.model_version,
        "formats": wish.written,
        "human_only": wish.human_only,
        "threshold": labels.threshold,
        "trust": dict(labels.trust),
        "counts": dict(counts),
    }


def _counts(labels: LabelSet, images: int, missing: int) -> dict[str, int]:
    sure = len(labels.sure)
    return {
        "human": len(labels.human),
        "model_above": sure,
        "model_below": len(labels.model) - sure,
        "left_out": len(labels.left_out),
        "images": images,
        "images_missing": missing,
    }
