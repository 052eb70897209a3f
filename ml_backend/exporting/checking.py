"""Read an export back: all files are what its manifest says, all formats say the same labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_backend.errors import ExportFailed
from ml_backend.exporting import class_folders, coco, huggingface, label_studio, tables
from ml_backend.exporting.stage import identity, read_manifest

_NAMED = 5  # tasks that an error names


Rows = dict[int, dict[str, str]]  # task → its row


@dataclass(frozen=True, slots=True)
class _Tables:
    """An export's folder and manifest, and what its tables say: the measure of its formats."""

    folder: Path
    manifest: Mapping[str, Any]
    human: Rows
    model: Rows


def check(folder: Path) -> dict[str, int]:
    """Compare all formats of an export with its tables, and all files with its manifest.

    Returns the counts that they agree on. Raises ExportFailed, which names what does not agree.
    """
    try:
        manifest = read_manifest(folder)
        _check_files(folder, manifest["files"])
        read = _read_tables(folder, manifest)
        for name in manifest["formats"]:
            _CHECKS[name](read)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportFailed(f"{folder} cannot be read back: {error!r}") from error
    return dict(manifest["counts"])


def _check_files(folder: Path, listed: Mapping[str, Any]) -> None:
    for name, was in listed.items():
        if identity(folder / name) != was:
            raise ExportFailed(f"{folder / name} is not what its manifest says")


def _read_tables(folder: Path, manifest: Mapping[str, Any]) -> _Tables:
    """Read the tables, and see that they agree with each other and the counts."""
    human = _rows(folder, tables.HUMAN)
    with_model = not manifest["human_only"]
    model = _rows(folder, tables.MODEL) if with_model else {}
    below = _rows(folder, tables.BELOW) if with_model else {}
    left_out = _rows(folder, tables.LEFT_OUT)
    twice = (human.keys() & model.keys()) | (left_out.keys() & (human.keys() | model.keys()))
    if twice:
        raise ExportFailed(f"tasks {sorted(twice)[:_NAMED]} have more than one kind of label")
    for rows, source in ((human, "human"), (model, "model")):
        found = {t: row["source"] for t, row in rows.items()}
        _same(f"source in the {source} table", found, dict.fromkeys(rows, source))
    threshold = manifest["threshold"]
    said = {t: str(float(row["confidence"]) >= threshold).lower() for t, row in model.items()}
    _same("above_threshold", {t: row["above_threshold"] for t, row in model.items()}, said)
    _same(tables.BELOW, below, {t: row for t, row in model.items() if said[t] == "false"})
    counts = {
        "human": len(human),
        "model_above": len(model) - len(below),
        "model_below": len(below),
        "left_out": len(left_out),
    }
    _same("counts", {name: manifest["counts"][name] for name in counts}, counts)
    return _Tables(folder, manifest, human, model)


def _check_csv(read: _Tables) -> None:
    """See that every file which a table names is there."""
    named = {row["file"] for rows in (read.human, read.model) for row in rows.values()} - {""}
    if absent := named - read.manifest["files"].keys():
        raise ExportFailed(f"{read.folder / min(absent)} is named in a table, and not there")


def _check_folders(read: _Tables) -> None:
    rows = tables.read_table(read.folder / tables.CLASSES)
    names = {row["label"]: row["folder"] for row in rows}
    _compare_images("folders", class_folders.read(read.manifest["files"], names), read)


def _check_huggingface(read: _Tables) -> None:
    human, model = (
        huggingface.read(read.folder / name) for name in (huggingface.HUMAN, huggingface.MODEL)
    )
    _compare_images("huggingface", (human, model), read)


def _check_label_studio(read: _Tables) -> None:
    annotations, predictions = label_studio.read(read.folder)
    expected = {t: (row["label"], None) for t, row in read.human.items()}
    _same("Label Studio's annotations", annotations, expected)
    said = {t: (row["label"], float(row["confidence"])) for t, row in read.model.items()}
    _same("Label Studio's predictions", predictions, said)


def _check_coco(read: _Tables) -> None:
    _same(coco.HUMAN, coco.read(read.folder / coco.HUMAN), _labels(read.human))
    if not read.manifest["human_only"]:
        _same(coco.MODEL, coco.read(read.folder / coco.MODEL), _labels(_sure(read.model)))


_CHECKS: dict[str, Callable[[_Tables], None]] = {
    "csv": _check_csv,
    "folders": _check_folders,
    "label-studio": _check_label_studio,
    "coco": _check_coco,
    "huggingface": _check_huggingface,
}


def _compare_images(form: str, found: tuple[dict[int, str], dict[int, str]], read: _Tables) -> None:
    """Compare the labels of a format that has images; images that it lacks are listed."""
    missing = _rows(read.folder, tables.MISSING)
    for whose, labels, rows in (
        ("human", found[0], read.human),
        ("model", found[1], _sure(read.model)),
    ):
        expected = {t: label for t, label in _labels(rows).items() if t not in missing}
        _same(f"{form} of the {whose} labels", labels, expected)


def _rows(folder: Path, name: str) -> Rows:
    rows = tables.read_table(folder / name)
    by_task = {int(row["task_id"]): row for row in rows}
    if len(by_task) != len(rows):
        raise ExportFailed(f"{folder / name} has a task more than once")
    return by_task


def _sure(model: Rows) -> Rows:
    return {t: row for t, row in model.items() if row["above_threshold"] == "true"}


def _labels(rows: Rows) -> dict[int, str]:
    return {task_id: row["label"] for task_id, row in rows.items()}


def _same(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    keys = found.keys() | expected.keys()
    wrong = sorted(key for key in keys if found.get(key) != expected.get(key))
    if wrong:
        key = wrong[0]
        raise ExportFailed(
            f"{what}: {len(wrong)} do not agree with the tables, such as {key}, which says "
            f"{found.get(key)!r} for {expected.get(key)!r}"
        )
