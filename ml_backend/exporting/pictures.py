"""The image files of an export: copied, fetched or linked once, then named in every format.

Knows files and bytes; decodes nothing. What was fetched before a kill is found again by its
SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.exporting.names import file_name
from ml_backend.exporting.records import LabeledImage

_PART = ".part"
_READ_AT_ONCE = 1 << 20
_QUEUED_A_WORKER = 4  # keeps as many results as needed in memory, and no more
_BEGINS_WITH = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"BM", ".bmp"),
)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Where image files come from.

    `read(task_id, uri)` fetches bytes and raises ImageUnreadable with a reason for people.
    `local_file(uri)` is the file on this machine, None where there is none, and raises the same.
    With `links` nothing is fetched or copied.
    """

    read: Callable[[int, str], bytes]
    local_file: Callable[[str], Path | None]
    links: bool = False
    workers: int = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """One image in the stage. `link` is the file that it leads to, None where it is a copy."""

    path: Path
    sha256: str
    link: str | None = None


def refuse_links_that_lead_nowhere(images: Sequence[LabeledImage], files: ImageFiles) -> None:
    """Raise ConfigurationError where links are wanted and some images are no files here."""
    if not files.links:
        return
    elsewhere = [image for image in images if not _has_local_file(image, files)]
    if elsewhere:
        raise ConfigurationError(
            f"{len(elsewhere)} of {len(images)} images are no files on this machine, such as that "
            f"of task {elsewhere[0].task_id} ({elsewhere[0].image_uri[:80]!r}), and cannot be "
            "linked: --copies fetches them, and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT says where "
            "Label Studio's local files are"
        )


def gather(
    folder: Path,
    images: Sequence[LabeledImage],
    files: ImageFiles,
    on_progress: Callable[[int, int], None],
) -> tuple[dict[int, Picture], dict[int, str]]:
    """Put every image into `folder`; return the pictures, and why others are missing, by task.

    Raises what `files.read` raises besides ImageUnreadable; what is there by then stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    have = {path.name.partition("-")[0]: path for path in folder.iterdir()}
    pictures: dict[int, Picture] = {}
    missing: dict[int, str] = {}
    with _workers(files.workers) as pool:
        todo = iter(images)
        running: dict[Future[Picture], int] = {}
        while True:
            room = files.workers * _QUEUED_A_WORKER - len(running)
            for image in islice(todo, room):
                there = have.get(str(image.task_id))
                running[pool.submit(_picture, folder, image, files, there)] = image.task_id
            if not running:
                return pictures, missing
            done = next(as_completed(running))
            task_id = running.pop(done)
            try:
                pictures[task_id] = done.result()
            except ImageUnreadable as reason:
                missing[task_id] = str(reason)
            on_progress(len(pictures) + len(missing), len(images))


def place(
    pictures: Mapping[int, Picture],
    target: Callable[[LabeledImage], Path],
    images: Sequence[LabeledImage],
) -> dict[int, Path]:
    """Give each picture its name in a format; return the files by task.

    Formats share one file on the disk where it can have several names.
    """
    placed: dict[int, Path] = {}
    for image in images:
        picture = pictures.get(image.task_id)
        if picture is None:
            continue
        path = target(image) / picture.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if picture.link is not None:
            path.symlink_to(picture.link)
        else:
            _second_name(picture.path, path)
        placed[image.task_id] = path
    return placed


@contextmanager
def _workers(number: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(max_workers=number)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _has_local_file(image: LabeledImage, files: ImageFiles) -> bool:
    try:
        path = files.local_file(image.image_uri)
    except ImageUnreadable:
        return False
    return path is not None and path.is_file()


def _picture(folder: Path, image: LabeledImage, files: ImageFiles, there: Path | None) -> Picture:
    """Fetch, copy or link one image. A file that is `there` and still right is kept."""
    local = files.local_file(image.image_uri)
    if files.links and local is not None:
        digest, begins = _digest(local)
        path = folder / file_name(image.task_id, image.image_uri, _ending(begins))
        path.unlink(missing_ok=True)
        path.symlink_to(local)
        return Picture(path, _as_it_was(image, digest), str(local))
    if there is not None and image.content_hash and not there.is_symlink():
        if there.suffix != _PART and _digest(there)[0] == image.content_hash:
            return Picture(there, image.content_hash)
        there.unlink()
    part = folder / f"{image.task_id}-{_PART}"
    digest, begins = _copy(local, part) if local else _write(part, files, image)
    path = folder / file_name(image.task_id, image.image_uri, _ending(begins))
    _as_it_was(image, digest)
    part.replace(path)
    return Picture(path, digest)


def _write(part: Path, files: ImageFiles, image: LabeledImage) -> tuple[str, bytes]:
    data = files.read(image.task_id, image.image_uri)
    part.write_bytes(data)
    return hashlib.sha256(data).hexdigest(), data[:32]


def _copy(local: Path, part: Path) -> tuple[str, bytes]:
    try:
        shutil.copyfile(local, part)
    except OSError as error:
        if error.filename != os.fspath(local):
            raise  # the export's own disk
        raise ImageUnreadable(f"{local.name}: {error.strerror}") from None
    return _digest(part)


def _digest(path: Path) -> tuple[str, bytes]:
    """Return a file's SHA-256 (hex) and its first bytes. Raises ImageUnreadable."""
    digest, begins = hashlib.sha256(), b""
    try:
        with path.open("rb") as file:
            while block := file.read(_READ_AT_ONCE):
                begins = begins or block[:32]
                digest.update(block)
    except OSError as error:
        raise ImageUnreadable(f"{path.name}: {error.strerror}") from None
    return digest.hexdigest(), begins


def _as_it_was(image: LabeledImage, digest: str) -> str:
    if image.content_hash not in (None, digest):
        raise ImageUnreadable("its content is another one than when it was labeled or scored")
    return digest


def _ending(begins: bytes) -> str:
    """Name what a file is by how it begins; readers of image folders go by endings."""
    for signature, ending in _BEGINS_WITH:
        if begins.startswith(signature):
            return ending
    if begins[:4] == b"RIFF" and begins[8:12] == b"WEBP":
        return ".webp"
    return ".avif" if begins[4:12] == b"ftypavif" else ""


def _second_name(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links, or too many of them
        shutil.copyfile(source, target)
