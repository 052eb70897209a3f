"""What a fine-tune has come to, on disk after every epoch, so that a killed one goes on.

Knows tensors, names and files: one folder an epoch, `tensors.safetensors` and `card.json`, which
appears whole (one rename). The last two are kept: where the newest cannot be read, the one before
serves. A checkpoint belongs to a fingerprint of everything that decides the run; of another run's,
nothing is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ml_backend.errors import CorruptFile
from ml_backend.learning.folders import remove_folder, remove_unfinished, save_folder

_FORMAT = 1
_TENSORS, _CARD = "tensors.safetensors", "card.json"
_NAME = re.compile(r"epoch-(\d{5})")
_KEEP = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunCheckpoint:
    """Tensors by name on the CPU, and facts as JSON."""

    epoch: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save_checkpoint(
    folder: Path, fingerprint: str, epoch: int, tensors: Mapping[str, Tensor], facts: dict[str, Any]
) -> None:
    """Write an epoch's checkpoint and remove all but the last two."""
    data = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    card = {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "epoch": epoch,
        "sha256": _sha256(data, facts),
        "facts": facts,
    }
    target = folder / f"epoch-{epoch:05d}"
    if target.exists():  # one that could not be read
        remove_folder(target)
    save_folder(target, {_TENSORS: data, _CARD: json.dumps(card, indent=1).encode()})
    remove_unfinished(folder)
    for superseded in _saved(folder)[:-_KEEP]:
        remove_folder(superseded)


def latest_checkpoint(folder: Path, fingerprint: str) -> RunCheckpoint | None:
    """Find where to go on: the newest readable checkpoint of this very run.

    Anything of another run is removed; what is damaged is logged, and removed too.
    """
    for saved in reversed(_saved(folder)):
        try:
            found = _load(saved, fingerprint)
        except CorruptFile as error:
            logger.error("A checkpoint of the fine-tune is damaged and not used: %s", error)
            found = None
        if found is not None:
            return found
        remove_folder(saved)
    return None


def _load(saved: Path, fingerprint: str) -> RunCheckpoint | None:
    try:
        card = json.loads((saved / _CARD).read_text("utf-8"))
        if (card["format"], card["fingerprint"]) != (_FORMAT, fingerprint):
            logger.info("%s is of another fine-tune; beginning anew", saved)
            return None
        data = (saved / _TENSORS).read_bytes()
        if _sha256(data, card["facts"]) != card["sha256"]:
            raise CorruptFile(f"{saved}: not what was written, by the SHA-256 in its card")
        return RunCheckpoint(int(card["epoch"]), safetensors.torch.load(data), card["facts"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptFile(f"{saved}: {type(error).__name__}: {error}") from error


def _sha256(data: bytes, facts: dict[str, Any]) -> str:
    """Hash tensors and facts; a number survives JSON unchanged."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()


def _saved(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
