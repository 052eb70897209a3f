"""What a round computed, on disk: the model and every task's scores under one model version.

Knows files and arrays; no torch, so that the web process can read it. One folder a version holds
`arrays.safetensors` and `card.json`. The folder appears under its name complete and synced (one
rename), so a reader sees a whole round or none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from ml_backend.errors import CorruptFile
from ml_backend.learning.folders import remove_folder, remove_unfinished, save_folder
from ml_backend.learning.head import Head

_FORMAT = 1
_ARRAYS = "arrays.safetensors"
_CARD = "card.json"
_SAVED = re.compile(r"(\d{8})-(.+)")  # the order of saving, then the model version


def _no_rows() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RoundResults:
    """One round's results. N tasks of the pool, M labeled ones, C classes.

    `order_N` are pool rows, most wanted first; `reasons` belong to the first of them. A tasks of
    the pool are there to measure the model on and get no prelabel; H labeled ones were such.
    `details` is for whatever else a reader wants to know, as JSON.
    """

    model_version: str
    classes: tuple[str, ...]
    backbone_key: str
    task_ids_N: NDArray[np.int64]
    probs_NC: NDArray[np.float32] | None  # None: no model yet
    order_N: NDArray[np.int64]
    uncertainty_N: NDArray[np.float32] | None
    reasons: tuple[str, ...]
    head: Head | None
    labeled_ids_M: NDArray[np.int64]
    labels_M: NDArray[np.int64]  # rows of `classes`
    audit_ids_A: NDArray[np.int64] = field(default_factory=_no_rows)
    holdout_ids_H: NDArray[np.int64] = field(default_factory=_no_rows)
    holdout_labels_H: NDArray[np.int64] = field(default_factory=_no_rows)
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other, before they are saved and after loading."""
        n, m, c = len(self.task_ids_N), len(self.labeled_ids_M), len(self.classes)
        _expect("order_N", self.order_N, (n,))
        _expect("probs_NC", self.probs_NC, (n, c))
        _expect("uncertainty_N", self.uncertainty_N, (n,))
        _expect("labels_M", self.labels_M, (m,))
        _expect("holdout_labels_H", self.holdout_labels_H, self.holdout_ids_H.shape)
        if not np.array_equal(np.sort(self.order_N), np.arange(n)):
            raise ValueError(f"order_N is not a permutation of the {n} pool rows")


def save_results(folder: Path, results: RoundResults, *, keep: int = 5) -> Path:
    """Save atomically under a new name; remove all but the newest `keep`. Returns the new folder.

    Raises OSError where the disk is full; then nothing has changed.
    """
    saved = saved_versions(folder)
    number = _number(saved[-1]) + 1 if saved else 1
    target = folder / f"{number:08d}-{quote(results.model_version, safe='')}"
    save_folder(target, _files(results))
    remove_unfinished(folder)
    for superseded in saved_versions(folder)[:-keep]:
        remove_folder(superseded)
    return target


def load_results(saved: Path) -> RoundResults:
    """Load one saved folder. Raises CorruptFile for anything that was not written so."""
    try:
        card = json.loads((saved / _CARD).read_text("utf-8"))
        data = (saved / _ARRAYS).read_bytes()
        if card["format"] != _FORMAT:
            raise CorruptFile(f"{saved}: format {card['format']!r}, expected {_FORMAT}")
        if hashlib.sha256(data).hexdigest() != card["arrays_sha256"]:
            raise CorruptFile(f"{saved / _ARRAYS}: not what its card says, by its SHA-256")
        return _results(card, safetensors.numpy.load(data))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptFile(f"{saved}: {type(error).__name__}: {error}") from error


def saved_versions(folder: Path) -> list[Path]:
    """List the saved folders, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _SAVED.fullmatch(path.name)), key=_number)


def latest(folder: Path) -> Path | None:
    """Find the newest saved folder."""
    saved = saved_versions(folder)
    return saved[-1] if saved else None


def find_version(folder: Path, model_version: str) -> Path | None:
    """Find the folder of a model version, the newest where it was saved more than once."""
    named = [path for path in saved_versions(folder) if version_of(path) == model_version]
    return named[-1] if named else None


def version_of(saved: Path) -> str:
    """Name the model version that a saved folder holds, without opening it."""
    match = _SAVED.fullmatch(saved.name)
    if match is None:
        raise ValueError(f"{saved}: not the name of saved results")
    return unquote(match[2])


def _number(saved: Path) -> int:
    return int(saved.name[:8])


def _files(results: RoundResults) -> dict[str, bytes]:
    data = safetensors.numpy.save(_arrays(results))
    card = {
        "format": _FORMAT,
        "model_version": results.model_version,
        "classes": results.classes,
        "backbone_key": results.backbone_key,
        "reasons": results.reasons,
        "details": results.details,
        "head": _head_facts(results.head),
        "arrays_sha256": hashlib.sha256(data).hexdigest(),
    }
    text = json.dumps(card, ensure_ascii=False, indent=1, allow_nan=False)
    return {_ARRAYS: data, _CARD: text.encode()}


def _arrays(results: RoundResults) -> dict[str, NDArray[Any]]:
    named = {f.name: getattr(results, f.name) for f in fields(results)}
    if results.head is not None:
        named |= {f"head.{f.name}": getattr(results.head, f.name) for f in fields(results.head)}
    return {
        name: np.ascontiguousarray(value)
        for name, value in named.items()
        if isinstance(value, np.ndarray)
    }


def _head_facts(head: Head | None) -> dict[str, Any] | None:
    if head is None:
        return None
    named = {f.name: getattr(head, f.name) for f in fields(head)}
    return {name: value for name, value in named.items() if not isinstance(value, np.ndarray)}


def _results(card: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> RoundResults:
    head_arrays: dict[str, Any] = {
        name.removeprefix("head."): array
        for name, array in arrays.items()
        if name.startswith("head.")
    }
    facts = card["head"]
    return RoundResults(
        model_version=card["model_version"],
        classes=tuple(card["classes"]),
        backbone_key=card["backbone_key"],
        task_ids_N=arrays["task_ids_N"],
        probs_NC=arrays.get("probs_NC"),
        order_N=arrays["order_N"],
        uncertainty_N=arrays.get("uncertainty_N"),
        reasons=tuple(card["reasons"]),
        head=None if facts is None else Head(**facts, **head_arrays),
        labeled_ids_M=arrays["labeled_ids_M"],
        labels_M=arrays["labels_M"],
        audit_ids_A=arrays.get("audit_ids_A", _no_rows()),
        holdout_ids_H=arrays.get("holdout_ids_H", _no_rows()),
        holdout_labels_H=arrays.get("holdout_labels_H", _no_rows()),
        details=card["details"],
    )


def _expect(name: str, array: NDArray[Any] | None, shape: tuple[int, ...]) -> None:
    if array is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
