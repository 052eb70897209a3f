"""Folders of files that appear whole, and go whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

_UNFINISHED = ".unfinished-"


def save_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write the files beside the target, sync them, and rename: one step for every reader.

    Raises OSError where the target exists or the disk is full; then nothing has changed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=target.parent))
    try:
        for name, content in files.items():
            _write(unfinished / name, content)
        unfinished.chmod(0o755)  # mkdtemp's are for their owner alone
        _sync(unfinished)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync(target.parent)


def remove_folder(target: Path) -> None:
    """Take the folder's name away in one step, then delete it at leisure."""
    doomed = target.with_name(f"{_UNFINISHED}{target.name}")
    target.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_unfinished(parent: Path) -> None:
    """Remove what killed processes left behind. For a folder that only one process writes."""
    for path in parent.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
