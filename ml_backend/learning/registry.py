"""The model versions of a project on disk: one folder each, kept whole or not at all.

Knows folders, hashes, sizes and cards; no torch, no training, and not which version is in use: its
callers name what must not go. A folder `NNNN-slug` holds `weights.safetensors` (the network's state
dict), `arrays.safetensors` (whatever else a version needs) and `model_card.json`. It appears
complete and synced (one rename). Readers need no lock. Writers take a file lock, which the kernel
frees when a process dies: so numbers are given out once, and what is unfinished while the lock is
held was left behind by the dead.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from ml_backend.errors import CorruptFile, UnknownModel
from ml_backend.learning.folders import remove_folder, remove_unfinished, save_folder
from ml_backend.learning.model_card import ModelCard, card_from_json, card_to_json
from ml_backend.learning.model_comparison import compare

__all__ = ["ModelCard", "Registry", "StoredModel", "compare", "pack_hashes", "unpack_hashes"]

CARD = "model_card.json"
WEIGHTS = "weights.safetensors"
ARRAYS = "arrays.safetensors"
# The lock's file also holds the last number given out, so that none comes twice: a record that
# names a deleted version must not mean another one some day.
_LOCK = ".lock"
_NAME = re.compile(r"(\d{4,})-[a-z0-9][a-z0-9.-]*")
_SLUG_LENGTH = 60
# No bfloat16, which NumPy does not have, and nothing that would double the file for no gain.
_STATE_TYPES = ("float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model version as it was saved: the network's state dict and its other arrays, by name."""

    card: ModelCard
    state: dict[str, NDArray[Any]]
    arrays: dict[str, NDArray[Any]]


class Registry:
    """Model versions in a folder, numbered in the order of saving.

    May be shared between threads and between the processes of one machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(
        self, card: ModelCard, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> str:
        """Save a version under a new number and return its name, which its card then holds.

        `state` may hold torch tensors of any device. Raises ValueError naming a tensor that is of
        another type than float32, float16, integer or bool, or holds NaN; OSError where the disk is
        full; then nothing has changed.
        """
        weights = {name: _state_array(name, value) for name, value in state.items()}
        others = {name: np.asarray(value, order="C") for name, value in arrays.items()}
        content = {
            WEIGHTS: safetensors.numpy.save(weights),
            ARRAYS: safetensors.numpy.save(others),
        }
        identities = {name: _identity(data) for name, data in content.items()}
        slug = _slug(card.name) or _slug(card.kind) or "model"
        with self._alone() as lock:
            name = f"{self._next_number(lock):04d}-{slug}"
            content[CARD] = card_to_json(replace(card, name=name), identities)
            save_folder(self._folder / name, content)
        return name

    def load(self, name: str) -> StoredModel:
        """Load a version. Raises UnknownModel, and CorruptFile for anything not written so."""
        try:
            card, files = self._read_card(name)
            arrays = {file: self._read_arrays(name, file, files) for file in (WEIGHTS, ARRAYS)}
        except CorruptFile:
            self._existing(name)  # removed while it was being read: unknown, not corrupt
            raise
        return StoredModel(card, arrays[WEIGHTS], arrays[ARRAYS])

    def card(self, name: str) -> ModelCard:
        """Read a version's card alone. Raises UnknownModel or CorruptFile."""
        return self._read_card(name)[0]

    def names(self) -> list[str]:
        """List the versions, oldest first."""
        if not self._folder.is_dir():
            return []
        found = (path.name for path in self._folder.iterdir())
        return sorted((name for name in found if _NAME.fullmatch(name)), key=_number)

    def size_bytes(self, name: str) -> int:
        """Count the bytes of a version's files. Raises UnknownModel."""
        return sum(file.stat().st_size for file in self._existing(name).iterdir())

    def delete(self, name: str) -> None:
        """Remove a version. Raises UnknownModel."""
        with self._alone():
            remove_folder(self._existing(name))

    def clear_unfinished(self) -> list[str]:
        """Remove what killed processes left behind; return what it was."""
        if not self._folder.is_dir():
            return []
        with self._alone():
            left = {path.name for path in self._folder.iterdir()}
            remove_unfinished(self._folder)
            return sorted(left - {path.name for path in self._folder.iterdir()})

    def prune(self, protect: Collection[str], keep_last: int, max_bytes: int) -> list[str]:
        """Remove all but the best, the newest `keep_last` and `protect`; return what went.

        Where these take more than `max_bytes` the oldest of the newest go too, but never the
        newest itself, the best or `protect`: if those alone are too many, the log says so. The best
        has the highest lower bound of its accuracy on the holdout: by accuracy alone, 12 of 12
        would beat 195 of 200 for ever.
        """
        with self._alone():
            names = self.names()
            sizes = {name: self.size_bytes(name) for name in names}
            must_stay = {*protect, *names[-1:], *self._best(names)}
            stays = must_stay | set(names[-keep_last:] if keep_last > 0 else ())
            kept = [name for name in names if name in stays]
            excess = sum(sizes[name] for name in kept) - max_bytes
            for name in [name for name in kept if name not in must_stay]:
                if excess > 0:
                    kept.remove(name)
                    excess -= sizes[name]
            removed = [name for name in names if name not in kept]
            for name in removed:
                remove_folder(self._folder / name)
        if excess > 0:
            _warn_of_excess(self._folder, kept, excess, max_bytes)
        return removed

    def _best(self, names: list[str]) -> list[str]:
        """Name the best version in a list of one, or of none where no holdout told."""
        bounds = {}
        for name in names:
            try:
                accuracy = self.card(name).holdout_accuracy()
            except CorruptFile as error:
                log.warning("Model %s cannot be the best one: %s", name, error)
                continue
            if accuracy is not None:
                bounds[name] = accuracy["low"]
        return sorted(bounds, key=lambda name: (bounds[name], _number(name)))[-1:]

    def _existing(self, name: str) -> Path:
        folder = self._folder / name
        if _NAME.fullmatch(name) is None or not folder.is_dir():
            kept = ", ".join(self.names()) or "none"
            raise UnknownModel(f"no model version {name!r} in {self._folder}; there are: {kept}")
        return folder

    def _read_card(self, name: str) -> tuple[ModelCard, dict[str, dict[str, Any]]]:
        path = self._existing(name) / CARD
        try:
            card, files = card_from_json(path.read_bytes())
        except (OSError, CorruptFile) as error:
            raise CorruptFile(f"{path}: {error}") from error
        if card.name != name:
            raise CorruptFile(f"{path}: the card of {card.name!r}, expected {name!r}")
        return card, files

    def _read_arrays(
        self, name: str, file: str, files: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, NDArray[Any]]:
        path = self._folder / name / file
        try:
            with path.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            if found != files[file]["sha256"]:
                raise CorruptFile(f"{path}: not what its card says, by its SHA-256")
            arrays: dict[str, NDArray[Any]] = safetensors.numpy.load_file(path)
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise CorruptFile(f"{path}: {type(error).__name__}: {error}") from error
        return arrays

    def _next_number(self, lock: TextIO) -> int:
        """Give out a number for good. The lock is held, and `lock` its file."""
        lock.seek(0)
        given_out = lock.read()
        last = int(given_out) if given_out.isdecimal() else 0
        number = max([last, *map(_number, self.names())]) + 1
        lock.truncate(0)
        lock.write(str(number))
        lock.flush()
        return number

    @contextmanager
    def _alone(self) -> Iterator[TextIO]:
        """Be the only writer. Closing the file, or dying, gives the lock back."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _LOCK).open("a+", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock


def pack_hashes(content_hashes: Collection[str]) -> NDArray[np.uint8]:
    """Pack SHA-256 hashes in hex into uint8 (M, 32), for an array file."""
    packed = bytes.fromhex("".join(content_hashes))
    return np.frombuffer(packed, np.uint8).reshape(len(content_hashes), 32)


def unpack_hashes(hashes_M32: NDArray[np.uint8]) -> list[str]:
    """Give hashes in hex back."""
    return [row.tobytes().hex() for row in hashes_M32]


def _number(name: str) -> int:
    return int(name.partition("-")[0])


def _slug(wish: str) -> str:
    """Make part of a folder's name of any text: lower case, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", wish).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_SLUG_LENGTH].strip("-")


def _identity(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _state_array(name: str, value: Any) -> NDArray[Any]:
    """Bring one entry of a state dict to the host as it is. Scalars stay scalars."""
    kind = str(value.dtype).removeprefix("torch.")
    if kind not in _STATE_TYPES:
        raise ValueError(f"state[{name!r}] is of {kind}: expected one of {', '.join(_STATE_TYPES)}")
    array = value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
    if np.isnan(array).any():
        raise ValueError(f"state[{name!r}] holds NaN")
    return np.asarray(array, order="C")


def _warn_of_excess(folder: Path, kept: list[str], excess: int, max_bytes: int) -> None:
    log.warning(
        "%s is %.1f MB over its budget of %.1f MB, and nothing more may go: %s",
        folder,
        excess / 1e6,
        max_bytes / 1e6,
        ", ".join(kept),
    )
