"""CSV files that programs read exactly and spreadsheets do not execute.

A cell that a spreadsheet would take for a formula (it begins with = + - @, a tab or a line break)
gets an apostrophe in front, unless it is a number; so does one that begins with an apostrophe, so
that taking one off gives back what was written. Class names and file names come from strangers.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_backend.exporting.records import LabeledImage, LabelSet

HUMAN = "human/labels.csv"
MODEL = "model/labels.csv"
BELOW = "model/below_threshold.csv"
LEFT_OUT = "left_out.csv"
MISSING = "images_missing.csv"
CLASSES = "classes.csv"
CURVE = "learning_curve.csv"

_FORMULA = frozenset("=+-@\t\r\n'＝＋－＠")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)


def cell(value: object) -> str:
    """Write one value; None is empty."""
    text = "" if value is None else str(value)
    if text[:1] in _FORMULA and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def plain(text: str) -> str:
    """Read what `cell` has written."""
    return text.removeprefix("'")


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under a header. Raises KeyError where a row lacks a column."""
    named = list(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(named)
        writer.writerows([cell(row[name]) for name in named] for row in rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a file of `write_table`, every cell as it was before."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: plain(value) for name, value in row.items()}
            for row in csv.DictReader(file, strict=True)
        ]


HUMAN_COLUMNS = ("task_id", "label", "source", "annotators", "split", "file", "image_uri")
MODEL_COLUMNS = (
    *("task_id", "label", "source", "confidence", "above_threshold"),
    *("split", "file", "image_uri"),
)
LAST_COLUMNS = ("content_hash", "metadata")
LEFT_OUT_COLUMNS = ("task_id", "reason", "image_uri")
CURVE_COLUMNS = (
    *("round", "finished_at", "model_version", "labeled", "trained_on", "held_out"),
    *("holdout_accuracy", "low", "high"),
)


def write_tables(
    root: Path,
    labels: LabelSet,
    folders: Mapping[str, str],
    files: Mapping[int, str],
    *,
    human_only: bool,
) -> None:
    """Write all tables of an export. `files` gives each image's file, relative to `root`."""
    human = [_row(labels, image, files) for image in labels.human]
    write_table(root / HUMAN, (*HUMAN_COLUMNS, *LAST_COLUMNS), human)
    if not human_only:
        model = [_row(labels, image, files) for image in labels.model]
        below = [row for row in model if row["above_threshold"] == "false"]
        write_table(root / MODEL, (*MODEL_COLUMNS, *LAST_COLUMNS), model)
        write_table(root / BELOW, (*MODEL_COLUMNS, *LAST_COLUMNS), below)
    left_out = [
        {"task_id": each.task_id, "reason": each.reason, "image_uri": each.image_uri}
        for each in labels.left_out
    ]
    write_table(root / LEFT_OUT, LEFT_OUT_COLUMNS, left_out)
    classes = [{"label": name, "folder": folder} for name, folder in folders.items()]
    write_table(root / CLASSES, ("label", "folder"), classes)
    write_table(root / CURVE, CURVE_COLUMNS, labels.learning_curve)


def _row(labels: LabelSet, image: LabeledImage, files: Mapping[int, str]) -> dict[str, Any]:
    return {
        "task_id": image.task_id,
        "label": image.label,
        "source": image.source,
        "confidence": image.confidence,
        "above_threshold": str(labels.is_sure(image)).lower(),
        "annotators": ";".join(map(str, image.annotators)),
        "split": image.split,
        "file": files.get(image.task_id, ""),
        "image_uri": image.image_uri,
        "content_hash": image.content_hash,
        "metadata": json.dumps(dict(image.metadata), ensure_ascii=False) if image.metadata else "",
    }
