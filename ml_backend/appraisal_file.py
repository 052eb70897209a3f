"""The last appraisal of a project, in a file: the trainer writes it, pages and `status` read it.

Knows JSON and a path. It must not import torch: the web process reads with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ml_backend.errors import CorruptFile

FILE_NAME = "appraisal.json"


def last_appraisal(folder: Path) -> dict[str, Any] | None:
    """Return what was found last of the project whose folder this is; None: nothing yet.

    Not to be changed: it is read once a version of the file. Raises CorruptFile.
    """
    path = folder / FILE_NAME
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return _read_once(path, state.st_mtime_ns, state.st_ino)


def save_appraisal(folder: Path, appraisal: Mapping[str, Any]) -> None:
    """Put an appraisal in the place of the last one, in one step. Raises ValueError for a NaN."""
    write_whole(folder / FILE_NAME, appraisal)


def write_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON beside its place and rename, so that a reader sees a whole file or the last one.

    Raises ValueError for a NaN.
    """
    text = json.dumps(content, allow_nan=False, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


@lru_cache(maxsize=32)
def _read_once(path: Path, _written_at_ns: int, _inode: int) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptFile(f"{path} is no appraisal: {error}") from None
    if not isinstance(content, dict):
        raise CorruptFile(f"{path} is no appraisal: expected an object")
    return content
