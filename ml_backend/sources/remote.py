"""Images in a bucket, by fsspec: s3://, gs://, azure, and file:// and memory:// for trying out.

Knows addresses of storage services. Credentials are theirs: each library looks for them where its
users keep them.
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Iterator
from contextlib import suppress
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
CREDENTIALS = {
    "s3fs": "It is asked with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), at "
    "AWS_ENDPOINT_URL or else at Amazon's; a public bucket with storage_options={anon: true}",
    "gcsfs": "It is asked with the credentials that GOOGLE_APPLICATION_CREDENTIALS names; a public "
    "bucket with storage_options={token: anon}",
    "adlfs": "It is asked with AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
# How the services say that nothing lies at a range which starts at 0: the object is empty.
EMPTY = {"errno": errno.EINVAL, "code": 416, "status_code": 416}


def open_remote(
    url: str, labels: Labels = "auto", storage_options: dict[str, Any] | None = None
) -> RemoteSource:
    """Open a folder of a storage service, such as s3://bucket/photos.

    `labels` as in `open_folder`; `storage_options` go to the service's library. Raises
    ConfigurationError.
    """
    filesystem, root = _filesystem(url, storage_options or {})
    if _library(url) and not root.strip("/"):
        raise ConfigurationError(f"url {url!r}: expected a bucket, such as {url}my-bucket/photos")
    return RemoteSource(url.rstrip("/"), filesystem, root.rstrip("/"), labels)


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
        folders, files = self._listed(root)
        inner = {}
        for name in folders:
            below, inside = self._listed(f"{root}/{name}")
            if any(map(is_image, inside)) or any(any(self._walk((name, each))) for each in below):
                inner[name] = below
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
            fetch = partial(self._fetch, f"{self._root}/{key}")
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
        """Return the names of a folder's visible folders and files. Raises ConfigurationError."""
        folders: list[str] = []
        files: list[str] = []
        for entry in self._entries(path):
            name = posixpath.basename(entry["name"].rstrip("/"))
            is_folder = entry["type"] == "directory"
            if entry["name"].strip("/") == path.strip("/"):  # the marker of a folder, or ...
                if is_folder and _library(self._url) == "s3fs":
                    self.problems.note(f"s3://{path}//", "a folder without a name")
            elif name and not name.startswith("."):
                (folders if is_folder else files).append(name)
        return folders, files

    def _entries(self, path: str) -> list[dict[str, Any]]:
        try:
            entries: list[dict[str, Any]] = self._filesystem.ls(path, detail=True)
        except FileNotFoundError:
            if path != self._root:  # its last object was deleted meanwhile
                return []
            raise ConfigurationError(
                self._with_advice("there is nothing at that address")
            ) from None
        except Exception as error:  # each service's library has errors of its own
            raise ConfigurationError(
                self._with_advice(f"cannot be listed: {_said(error)}")
            ) from error
        return entries

    def _fetch(self, path: str, max_bytes: int) -> bytes:
        """Read an object. Raises ImageUnreadable; ConfigurationError where it is the service."""
        try:
            return _read(self._filesystem, path, max_bytes)
        except ImageUnreadable as unreadable:
            if not isinstance(unreadable.__cause__, FileNotFoundError | None):
                self._check_service()
            raise

    def _check_service(self) -> None:
        with suppress(Exception):  # who may list a folder may not always ask about it
            self._filesystem.info(self._root)
            return
        self._entries(self._root)

    def _with_advice(self, problem: str) -> str:
        advice = CREDENTIALS.get(_library(self._url), "")
        return f"url {self._url!r}: {problem}{advice and f'. {advice}'}"


def _library(url: str) -> str:
    return LIBRARIES.get(url.partition("://")[0].lower(), "")


def _filesystem(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0].lower()
    if protocol not in PROTOCOLS or "::" in url or "://" not in url:
        raise ConfigurationError(
            f"url {url[:80]!r}: expected an address that starts with one of "
            f"{', '.join(f'{each}://' for each in PROTOCOLS)}"
        )
    try:
        # Each pass sees what is there then, and no cache keeps every name of a bucket in memory.
        filesystem, path = url_to_fs(url, **{"use_listings_cache": False, **options})
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
    """Read an object by one request, which asks for one byte more than allowed at most."""
    try:
        content: bytes = filesystem.cat_file(path, start=0, end=max_bytes + 1)
    except Exception as error:  # each service's library has errors of its own
        if any(getattr(error, name, None) == value for name, value in EMPTY.items()):
            return b""
        raise ImageUnreadable(f"{posixpath.basename(path)}: {_said(error)}") from error
    return within(content, max_bytes)


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}"[:300]
