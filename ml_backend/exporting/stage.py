"""A folder that appears whole: written beside its place, and moved there in one step.

Knows files and who wrote them. What another program or person put into the target is never deleted
or overwritten; a stage that a killed export left is gone on with.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_backend.errors import ConfigurationError

MANIFEST = "manifest.json"
IMAGES = ".images"  # of the stage alone
_MARK = ".active-labeler-export"
_READ_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Stage:
    """The folder in which an export is made, and where it will go."""

    folder: Path
    target: Path

    @property
    def images(self) -> Path:
        """Where image files are kept until every format has them."""
        return self.folder / IMAGES


@contextmanager
def staged(target: Path, owner: str, *, force: bool) -> Iterator[Stage]:
    """Yield a stage for `target`, empty but for images that a killed export of `owner` had.

    The caller writes, and ends with `move_into_place`. Raises ConfigurationError where the target
    is in use and `force` is not given, or another export is at work on it.
    """
    target = target.resolve()
    _finish(target)
    _refuse_what_is_in_use(target, force=force)
    folder = target.with_name(f".{target.name}.unfinished")
    mark = folder / _MARK
    if folder.exists() and not mark.is_file():
        raise ConfigurationError(f"{folder} is in the way, and no export made it: move it away")
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"another export to {target} is at work") from None
        file.seek(0)
        _clear(folder, keep_images=file.read() == owner)
        mark.write_text(owner, "utf-8")
        yield Stage(folder, target)


def move_into_place(stage: Stage) -> None:
    """Put the finished stage where it belongs, in place of what an earlier export wrote there.

    Raises ConfigurationError where somebody else's file has the name of one of ours; then nothing
    has changed.
    """
    new = read_manifest(stage.folder)["files"].keys() | {MANIFEST}
    old = _files_below(stage.target) if stage.target.exists() else set()
    foreign = old - _own(stage.target)
    _refuse_clashes(stage.target, new, foreign)
    shutil.rmtree(stage.images, ignore_errors=True)
    if old:
        stage.target.rename(_aside(stage.target))
    stage.folder.rename(stage.target)  # over an empty folder too
    _finish(stage.target)


def write_manifest(
    folder: Path, facts: Mapping[str, Any], on_progress: Callable[[int, int], None]
) -> None:
    """List every file with its SHA-256 (a link with where it leads), as the last file."""
    names = sorted(_files_below(folder) - {_MARK, MANIFEST})
    names = [name for name in names if not name.startswith(f"{IMAGES}/")]
    files = {}
    for done, name in enumerate(names, start=1):
        files[name] = identity(folder / name)
        on_progress(done, len(names))
    content = json.dumps({**facts, "files": files}, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(content, "utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what an export lists. Raises OSError, ValueError."""
    found = json.loads((folder / MANIFEST).read_text("utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise ValueError(f"{folder / MANIFEST} is not the manifest of an export")
    return found


def identity(path: Path) -> dict[str, Any]:
    """Return what tells whether a file is still what was written."""
    if path.is_symlink():
        return {"link": str(path.readlink())}
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_AT_ONCE):
            digest.update(block)
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


def _refuse_what_is_in_use(target: Path, *, force: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise ConfigurationError(f"{target} is a file: choose a folder")
    if any(target.iterdir()) and not force:
        raise ConfigurationError(
            f"{target} is not empty: choose another folder, or --force, which replaces what an "
            "earlier export wrote there and leaves everything else"
        )


def _refuse_clashes(target: Path, new: set[str], foreign: set[str]) -> None:
    """Refuse a file that is a file or a folder of ours too, or one inside a file of ours."""
    ours = new | {str(parent) for name in new for parent in Path(name).parents}
    wrong = [n for n in foreign if n in ours or new & {str(p) for p in Path(n).parents}]
    if wrong:
        raise ConfigurationError(
            f"{target / min(wrong)} is not, or no longer, what an export wrote, and the new export "
            f"has a file of that name ({len(wrong)} of this kind): move it away"
        )


def _own(folder: Path) -> set[str]:
    """Name the files that an export wrote and nobody has changed since."""
    try:
        listed = read_manifest(folder)["files"]
    except (OSError, ValueError):
        return set()
    return {name for name, was in listed.items() if _is_still(folder, name, was)} | {MANIFEST}


def _is_still(folder: Path, name: str, was: object) -> bool:
    path = folder / name
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    return inside and (path.is_symlink() or path.is_file()) and identity(path) == was


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _finish(target: Path) -> None:
    """Do what follows the move into place, also for an export that was killed in between.

    What we wrote goes from the folder that was replaced; the rest is carried over.
    """
    aside = _aside(target)
    if target.is_dir():
        (target / _MARK).unlink(missing_ok=True)
    if not aside.exists():
        return
    if not target.exists():
        aside.rename(target)  # killed before the new one came
        return
    there = _files_below(aside)
    own = _own(aside) & there
    for name in there - own:
        place = target / name
        if place.exists() or place.is_symlink():
            raise ConfigurationError(f"{aside / name} was put aside and its place is taken")
        place.parent.mkdir(parents=True, exist_ok=True)
        (aside / name).rename(place)
    for name in (*(own - {MANIFEST}), *(own & {MANIFEST})):  # the list itself last
        (aside / name).unlink()
    ours = {str(parent) for name in own for parent in Path(name).parents}
    _remove_empty(aside, target, ours)


def _remove_empty(aside: Path, target: Path, ours: set[str]) -> None:
    """Remove empty folders, deepest first; keep those in the target that are not `ours`."""
    for at, _, _ in os.walk(aside, topdown=False):
        folder = Path(at)
        if str(folder.relative_to(aside)) not in ours:
            (target / folder.relative_to(aside)).mkdir(parents=True, exist_ok=True)
        folder.rmdir()


def _files_below(folder: Path) -> set[str]:
    """Name all files and links below a folder, relative to it, with slashes; follows no link."""
    found = set()
    for at, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        found |= {(Path(at) / name).relative_to(folder).as_posix() for name in (*files, *links)}
    return found


def _clear(folder: Path, *, keep_images: bool) -> None:
    """Empty a stage but for its mark."""
    for path in folder.iterdir():
        if path.name == _MARK or (path.name == IMAGES and keep_images):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
