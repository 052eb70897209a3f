"""What has been replayed already, a file each, so that a stopped simulation goes on.

Knows files and JSON. A cell (backbone, strategy, seed) is written beside its place and renamed, so
that it is there whole or not at all. What all cells depend on stands in one file beside them: cells
that were made of other data or other parameters are never mixed with new ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ml_backend.errors import ConfigurationError, CorruptFile
from ml_backend.simulation.replay import Curve

FORMAT = 1  # raise it when a change of the replay makes old cells incomparable
_FACTS = "simulation.json"
_READABLE = 40  # characters of a name that its file keeps, for people; a hash makes it unique


@dataclass(frozen=True, slots=True)
class Cell:
    """One replay's name: which backbone, whose ranking, which seed."""

    backbone: str
    contender: str
    seed: int


class Cells:
    """The finished cells of one simulation, in one folder. Processes may share it."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Open or begin. `facts` (JSON) are what the cells depend on, by name.

        Facts may be added later, such as another backbone's key. Raises ConfigurationError where
        one that the folder has is another now.
        """
        self._folder = folder
        facts = json.loads(json.dumps({"format": FORMAT, **facts}))
        path = folder / _FACTS
        kept = _read(path) if path.exists() else {}
        _require_same(folder, kept, facts)
        if kept != {**kept, **facts}:
            _write(path, {**kept, **facts})

    def find(self, cell: Cell) -> Curve | None:
        """Return a finished cell's curve. Raises CorruptFile where its file is not one of ours."""
        path = self._path(cell)
        if not path.exists():
            return None
        try:
            found = _read(path)
            if found["cell"] != asdict(cell):
                raise ValueError(f"it is of {found['cell']}")
            return Curve(**{name: tuple(values) for name, values in found["curve"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptFile(f"{path}: {error}; delete it, and it is replayed again") from error

    def save(self, cell: Cell, curve: Curve) -> None:
        """Keep a curve; once this returns it survives a crash."""
        _write(self._path(cell), {"cell": asdict(cell), "curve": asdict(curve)})

    def _path(self, cell: Cell) -> Path:
        name = f"{cell.backbone} {cell.contender}"
        readable = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)[:_READABLE]
        unique = sha256(name.encode()).hexdigest()[:8]
        return self._folder / "cells" / f"{readable}-{unique}-{cell.seed}.json"


def _require_same(folder: Path, kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [
        f"{name} {_short(kept[name])}, now {_short(now[name])}"
        for name in kept
        if name in now and kept[name] != now[name]
    ]
    if changed:
        raise ConfigurationError(
            f"{folder} holds a simulation of something else ({'; '.join(changed)}). Give another "
            "--output, or delete this one"
        )


def _short(fact: object) -> str:
    text = json.dumps(fact)
    return text if len(text) <= _READABLE else f"{text[:_READABLE]}..."


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CorruptFile(f"{path}: not the JSON that was written: {error}") from error


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
