"""What is written down about a model version, and two of them side by side.

Knows facts and JSON; no weights, no folders, no torch. A card is written once, when its model is
saved, and never changes: which version is the champion, and which were refused or went back, is
for the store to say.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ml_backend.errors import CorruptFile

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything about a model version but its arrays.

    `name` is a wish ("resnet18 last stage") until the registry saves it under its folder's name.
    Dicts hold what JSON can: the registry stores NumPy numbers as plain ones and numbers that are
    not finite as null. What fills a dict is named behind it.
    """

    name: str
    kind: str  # "pretrained" or "fine-tuned"
    parent: str | None  # the name of the version that it started from, kept or not
    created_at: str  # ISO 8601 with its offset
    project_id: int | None
    backbone_key: str
    backbone_facts: dict[str, Any]  # Backbone.facts
    classes: tuple[str, ...]
    label_counts: dict[str, int] = field(default_factory=dict)  # of what it was trained on
    n_trained: int = 0
    data_hash: str = ""
    validation: dict[str, Any] | None = None
    recipe: dict[str, Any] | None = None
    seed: int | None = None
    code_version: str = ""
    holdout: dict[str, Any] | None = None  # how it is drawn: share, salt
    holdout_metrics: dict[str, Any] | None = None  # Evaluation.as_dict()
    verdict: dict[str, Any] | None = None  # Verdict.as_dict()
    calibration: dict[str, Any] | None = None  # temperature, calibration errors
    history: tuple[dict[str, Any], ...] = ()
    timings: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def holdout_accuracy(self) -> dict[str, float] | None:
        """Give the accuracy on the holdout as value, low and high; None where nothing was told."""
        accuracy = (self.holdout_metrics or {}).get("accuracy")
        return accuracy if accuracy and accuracy["value"] is not None else None


def card_to_json(card: ModelCard, files: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Write a card and what identifies its files, with a checksum over both.

    Raises TypeError, with the place, for what JSON cannot hold.
    """
    facts: dict[str, Any] = {"format": FORMAT}
    facts |= {f.name: _plain(getattr(card, f.name), f.name) for f in fields(card)}
    facts["files"] = _plain(files, "files")
    facts["card_sha256"] = _checksum(facts)
    return json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False).encode()


def card_from_json(text: bytes) -> tuple[ModelCard, dict[str, dict[str, Any]]]:
    """Read a card and what identifies its files. Raises CorruptFile for anything else."""
    try:
        facts = json.loads(text)
        if facts["format"] != FORMAT:
            raise CorruptFile(f"format {facts['format']!r}, expected {FORMAT}")
        if facts.pop("card_sha256") != _checksum(facts):
            raise CorruptFile("not what was written, by its checksum")
        named = {f.name: facts.pop(f.name) for f in fields(ModelCard)}
        files = facts.pop("files")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{type(error).__name__}: {error}") from error
    named |= {"classes": tuple(named["classes"]), "history": tuple(named["history"])}
    return ModelCard(**named), files


def _checksum(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _plain(value: Any, place: str) -> Any:
    """Turn a value into what JSON gives back."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(each, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, f"{place}[{row}]") for row, each in enumerate(value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{place} is of {type(value).__name__}: expected what JSON can hold")
