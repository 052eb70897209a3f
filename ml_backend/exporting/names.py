"""Names of files and folders from class names and image addresses, which are hostile.

Only letters, digits and a few signs are let through, on every system: no separators, no `..`, no
leading dot or hyphen, no device names of Windows, no bidirectional marks, no two names that a
file system without case or with another normalisation would take for one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

MOST_BYTES = 120  # file systems allow 255, and a number and an ending come on top
# File names of ours that stand beside the folders of classes.
TAKEN = ("labels.csv", "below_threshold.csv")
_ALLOWED_SIGNS = frozenset("-_. +")
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.I)
_LOCAL_FILE = re.compile(r"[?&]d=([^&#]*)")
_IMAGE_ENDING = re.compile(r"\.(jpe?g|jfif|png|gif|bmp|tiff?|webp|avif|p[pgbn]m)", re.I)


def safe_name(text: str, otherwise: str = "unnamed") -> str:
    """Turn any text into one name of a file or folder; `otherwise` where nothing of it is left."""
    kept = "".join(
        sign if _is_allowed(sign) else "_" for sign in unicodedata.normalize("NFC", text)
    )
    name = _cut(kept.lstrip(" ."), MOST_BYTES).rstrip(" .")
    if not name.strip("_ .-+"):
        return otherwise
    return f"_{name}" if name[0] in "-+" or _DEVICES.fullmatch(name) else name


def class_folders(classes: Iterable[str]) -> dict[str, str]:
    """Give each class a folder name; the first of those that would share one keeps it."""
    taken = {_likeness(name) for name in TAKEN}
    folders: dict[str, str] = {}
    for name in dict.fromkeys(classes):
        folder = wanted = safe_name(name)
        number = 1
        while _likeness(folder) in taken:
            number += 1
            folder = f"{wanted}-{number}"
        taken.add(_likeness(folder))
        folders[name] = folder
    return folders


def file_name(task_id: int, image_uri: str, ending: str = "") -> str:
    """Name a task's image: its number, by which it is told from all others, and what it was called.

    `ending` (".png") is put behind a name that does not end like an image.
    """
    stem, dot, suffix = safe_name(source_name(image_uri), "image").rpartition(".")
    if not _IMAGE_ENDING.fullmatch(dot + suffix):
        stem, suffix = f"{stem}{dot}{suffix}", ending.lstrip(".")
    tail = f".{suffix}" if suffix else ""
    return f"{task_id}-{_cut(stem, MOST_BYTES - len(tail))}{tail}"


def task_of(name: str) -> int:
    """Return the task that a file of `file_name` belongs to. Raises ValueError for another name."""
    return int(name.partition("-")[0])


def source_name(image_uri: str) -> str:
    """Return the last part of an image's address, without what a server was asked besides."""
    local = _LOCAL_FILE.search(image_uri)
    path = local.group(1) if local else re.split(r"[?#]", image_uri, maxsplit=1)[0]
    return re.split(r"[/\\]", unquote(path))[-1]


def _is_allowed(sign: str) -> bool:
    return sign in _ALLOWED_SIGNS or unicodedata.category(sign)[0] in "LMN"


def _cut(text: str, most_bytes: int) -> str:
    return text.encode("utf-8")[:most_bytes].decode("utf-8", "ignore")


def _likeness(name: str) -> str:
    """Return what file systems without case or normalisation may tell names by."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize("NFKC", folded).rstrip(" .")
