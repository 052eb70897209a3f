"""The demo's images as a table: what each shows, and which are held back for measuring."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ml_backend.errors import ConfigurationError
from ml_backend.sources import SourceItem
from ml_backend.sources.folder import open_folder

HOLDOUT_SHARE = 0.2
HOLDOUT_AT_MOST = 500
HEADER = ("path", "label", "split")
POOL, HOLDOUT = "pool", "holdout"


def write_table(folder: Path, table: Path, *, seed: int = 0) -> None:
    """Write a row for each image of a folder with one subfolder a class.

    A fifth of each class is of the split `holdout`; the rows are mixed, so that classes do not
    follow one another. The same folder gives the same table. Raises ConfigurationError where there
    are no two classes.
    """
    items = [item for item in open_folder(folder, "folders").items() if item.label is not None]
    classes = {item.label for item in items}
    if len(classes) < 2:
        raise ConfigurationError(
            f"{folder}: found images in {len(classes)} subfolder, expected one subfolder a class, "
            "two at least"
        )
    held = _held_back(items, seed)
    order = np.random.default_rng(seed).permutation(len(items))
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *(_row(items[place], held) for place in order)])


def _row(item: SourceItem, held: set[str]) -> tuple[str, str, str]:
    return item.key, str(item.label), HOLDOUT if item.key in held else POOL


def _held_back(items: Sequence[SourceItem], seed: int) -> set[str]:
    """Draw the keys of a share of each class."""
    by_class: dict[str, list[str]] = {}
    for item in items:
        by_class.setdefault(str(item.label), []).append(item.key)
    share = min(HOLDOUT_SHARE, HOLDOUT_AT_MOST / len(items))
    rng = np.random.default_rng(seed)
    return {
        str(key)
        for keys in by_class.values()
        for key in rng.permutation(keys)[: round(share * len(keys))]
    }
