"""Images in a bucket, by fsspec: s3://, gs://, azure, and file:// and memory:// for trying out.

Knows addresses of storage services. Credentials are theirs: each library looks for them where its
users keep them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial
from typing import Any

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources.item import Problems, SourceItem, within
from ml_backend.sources.layout import Labels, is_image, is_text, layout_of

# What can be listed. Chained addresses (zip::..., simplecache::...) would reach past this table.
PROTOCOLS = ("s3", "gs", "gcs", "az", "abfs", "abfss", "file", "memory")
LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"} | dict.fromkeys(
    ("az", "abfs", "abfss"), "adlfs"
)


def open_remote(
    url: str, labels: Labels = "auto", storage_options: dict[str, Any] | None = None
) -> RemoteSource:
    """Open a folder of a storage service, such as s3://bucket/photos.

    `labels` as in `open_folder`; `storage_options` go to the service's library. Raises
    ConfigurationError.
    """
    filesystem, root = _filesystem(url, storage_options or {})
    try:
        return RemoteSource(url.rstrip("/"), filesystem, root.rstrip("/"), labels)
    except ConfigurationError:
        raise
    except Exception as error:  # each service's library has errors of its own
        raise ConfigurationError(f"url {url!r} cannot be listed: {_said(error)}") from error


def read_address(address: str, max_bytes: int) -> bytes:
    """Return the bytes of one object. Raises ImageUnreadable with a reason for people."""
    try:
        filesystem, path = _filesystem(address, {})
    except ConfigurationError as error:
        raise ImageUnreadable(str(error)) from None
    return _read(filesystem, path, max_bytes)


class RemoteSource:
    """The image files below an address, in order of their paths.

    One folder's listing at a time is in memory; a bucket without folders is one folder.
    """

    def __init__(self, url: str, filesystem: Any, root: str, labels: Labels) -> None:
        self.problems = Problems()
        self._url, self._filesystem, self._root = url, filesystem, root
        if not filesystem.exists(root):
            raise ConfigurationError(f"url {url!r}: there is nothing at that address")
        folders, files = self._listed(root)
        tops = {name: self._listed(f"{root}/{name}") for name in folders}
        inner = {name: each[0] for name, each in tops.items() if any(self._walk((name,)))}
        at_root = any(map(is_image, files))
        if not inner and not at_root:
            raise ConfigurationError(f"url {url!r}: no image file below it")
        self._layout = layout_of(inner, at_root, labels)

    def items(self) -> Iterator[SourceItem]:
        """Stream the images."""
        self.problems.clear()
        for parts in self._walk(()):
            key = "/".join(parts)
            if not is_text(key):
                self.problems.note(ascii(key)[1:-1], "a name that is no text")
                continue
            label, split = self._layout.place(parts)
            fetch = partial(_read, self._filesystem, f"{self._root}/{key}")
            yield SourceItem(key, None, f"{self._url}/{key}", label, split, fetch=fetch)

    def count(self) -> int | None:
        """Nobody knows before a whole pass."""
        return None

    def describe(self) -> str:
        """Say what was taken for what."""
        return f"images below {self._url}, {self._layout.describe()}"

    def _walk(self, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        stack = [(parts, self._names(parts))]
        while stack:
            parts, names = stack[-1]
            name, is_folder = next(names, ("", False))
            if not name:
                stack.pop()
            elif is_folder:
                stack.append(((*parts, name), self._names((*parts, name))))
            elif is_image(name):
                yield (*parts, name)

    def _names(self, parts: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
        folders, files = self._listed("/".join((self._root, *parts)))
        return iter(sorted([(name, True) for name in folders] + [(name, False) for name in files]))

    def _listed(self, path: str) -> tuple[list[str], list[str]]:
        """Return the names of a folder's visible folders and files."""
        folders: list[str] = []
        files: list[str] = []
        for entry in self._filesystem.ls(path, detail=True):
            name = posixpath.basename(entry["name"].rstrip("/"))
            if name and not name.startswith(".") and entry["name"].strip("/") != path.strip("/"):
                (folders if entry["type"] == "directory" else files).append(name)
        return folders, files


def _filesystem(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0].lower()
    if protocol not in PROTOCOLS or "::" in url or "://" not in url:
        raise ConfigurationError(
            f"url {url[:80]!r}: expected an address that starts with one of "
            f"{', '.join(f'{each}://' for each in PROTOCOLS)}"
        )
    try:
        filesystem, path = url_to_fs(url, **options)
    except ImportError:
        library = LIBRARIES.get(protocol, "fsspec")
        raise ConfigurationError(
            f"{protocol}:// addresses need the library {library}: pip install "
            "'active-labeler[cloud]'"
        ) from None
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"url {url[:80]!r}: {_said(error)}") from None
    return filesystem, path


def _read(filesystem: Any, path: str, max_bytes: int) -> bytes:
    try:
        with filesystem.open(path, "rb") as file:
            content: bytes = file.read(max_bytes + 1)
    except Exception as error:  # each service's library has errors of its own
        raise ImageUnreadable(f"{posixpath.basename(path)}: {_said(error)}") from error
    return within(content, max_bytes)


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}"[:300]
