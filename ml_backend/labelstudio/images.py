"""Fetch the bytes of a task's image, wherever the task says it is. Decodes nothing.

Task data is written by whoever may import tasks, so an address in it is hostile: it leads only to
Label Studio, to a folder that was named, or to a public host; the token goes to Label Studio alone.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import httpx

from ml_backend.errors import ImageUnreadable, LabelStudioRefused, LabelStudioUnreachable
from ml_backend.labelstudio.addresses import Resolver, host_allowed, resolve
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.fetching import ConnectionLost, Download, Fetcher

MAX_REDIRECTS = 5
OUT_OF_SERVICE = frozenset({502, 503, 504})  # a 500 is Label Studio's answer to a lost upload
NOT_IN_STORAGE = frozenset({403, 404, 424})  # 424: Label Studio has asked in vain
REDIRECTS = frozenset({301, 302, 303, 307, 308})
STORAGE_SCHEMES = ("s3", "gs", "azure-blob")
LOCAL_FILES = "/data/local-files/"


class ImageReader:
    """Reads images of tasks. Threads may share it.

    `local_files_root` is Label Studio's document root, where this process sees it too: local files
    are then read from disk. `timeout_s` bounds one image from first to last byte. `allowed_hosts`
    empty means any; Label Studio's own host is always allowed.
    """

    def __init__(
        self,
        client: LabelStudioClient,
        local_files_root: Path | None = None,
        *,
        max_bytes: int,
        timeout_s: float,
        allowed_hosts: Collection[str] = (),
        private_addresses: bool = False,
        clock: Callable[[], float] = time.monotonic,
        resolver: Resolver = resolve,
    ) -> None:
        self._client = client
        self._local_files_root = local_files_root
        self._max_bytes = max_bytes
        self._allowed_hosts = tuple(allowed_hosts)
        self._origin = _origin(httpx.URL(client.url))
        self._fetcher = Fetcher(
            max_bytes=max_bytes,
            timeout_s=timeout_s,
            private_addresses=private_addresses,
            trusted=[self._origin[1:]],
            clock=clock,
            resolver=resolver,
        )

    def read(self, task_id: int, uri: str) -> bytes:
        """Return an image's bytes.

        Raises ImageUnreadable with a reason for people; LabelStudioUnreachable or
        LabelStudioRefused where it is not the image that is at fault.
        """
        if not uri:
            raise ImageUnreadable("the task has no image")
        path = local_file(self._local_files_root, uri)
        if path is not None:
            return self._read_file(path)
        return self._follow(_parsed(self._address(task_id, uri)), _bucket(uri))

    def _address(self, task_id: int, uri: str) -> str:
        scheme = uri.split(":", 1)[0].lower() if ":" in uri else ""
        if uri.startswith("/") and not uri.startswith("//"):
            return urljoin(f"{self._client.url}/", uri)
        if scheme in STORAGE_SCHEMES:
            encoded = base64.urlsafe_b64encode(uri.encode()).decode()
            return f"{self._client.url}/tasks/{task_id}/presign/?fileuri={quote(encoded)}"
        if scheme in ("http", "https"):
            return uri
        raise ImageUnreadable(
            f"addresses like {uri[:60]!r} are not read; supported are uploads, local files, "
            "http(s), s3, gs and azure-blob"
        )

    def _follow(self, url: httpx.URL, bucket: str) -> bytes:
        self._fetcher.begin()
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._get(url)
            if answer.status == 200:
                return answer.body
            if answer.status not in REDIRECTS or not answer.location:
                of_label_studio = _origin(url) == self._origin
                raise ImageUnreadable(_refusal(url.host, answer.status, bucket, of_label_studio))
            url = _parsed(urljoin(str(url), answer.location))
        raise ImageUnreadable(f"more than {MAX_REDIRECTS} redirects")

    def _get(self, url: httpx.URL) -> Download:
        scheme, host, _port = origin = _origin(url)
        if origin == self._origin:
            return self._get_from_label_studio(url)
        if scheme not in ("http", "https") or not host:
            raise ImageUnreadable(f"{str(url)[:60]!r} is no address on the web")
        if not host_allowed(host, self._allowed_hosts):
            raise ImageUnreadable(
                f"{host} is not among ACTIVE_LABELER_IMAGE_HOSTS ({', '.join(self._allowed_hosts)})"
            )
        return self._fetcher.get(url, {})

    def _get_from_label_studio(self, url: httpx.URL) -> Download:
        try:
            answer = self._signed_get(url)
        except ConnectionLost as lost:
            raise LabelStudioUnreachable(str(lost)) from None
        if answer.status in OUT_OF_SERVICE:
            raise LabelStudioUnreachable(f"{self._client.url} answered {answer.status}")
        if answer.status == 401:
            raise LabelStudioRefused(f"{self._client.url} refused the token for {url.path}")
        return answer

    def _signed_get(self, url: httpx.URL) -> Download:
        # Kept connections to Label Studio's own server are slow: see the client's limits.
        signed = {"Authorization": self._client.authorization(), "Connection": "close"}
        answer = self._fetcher.get(url, signed)
        if answer.status == 401:
            signed["Authorization"] = self._client.authorization(renewed=True)
            answer = self._fetcher.get(url, signed)
        return answer

    def _read_file(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                content = file.read(self._max_bytes + 1)
        except OSError as error:
            raise ImageUnreadable(f"{path.name}: {error.strerror}") from None
        if len(content) > self._max_bytes:
            raise ImageUnreadable(f"the file is larger than {self._max_bytes:,} bytes")
        return content


def local_file(root: Path | None, uri: str) -> Path | None:
    """Return the file behind a local-files address, where Label Studio's folder is here.

    Raises ImageUnreadable for one outside that folder.
    """
    if root is None or not uri.startswith(LOCAL_FILES):
        return None
    root = root.resolve()
    named = parse_qs(urlsplit(uri).query).get("d", [""])[0]
    path = (root / named.lstrip("/")).resolve()
    if not path.is_relative_to(root):
        raise ImageUnreadable(f"{named!r} lies outside the folder of local files")
    return path


def _bucket(uri: str) -> str:
    """Return the bucket that Label Studio's storage must be of, "" where none is needed."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if scheme.lower() in STORAGE_SCHEMES else ""


def _refusal(host: str, status: int, bucket: str, of_label_studio: bool) -> str:
    """Say what to do where an image's address answered something else than an image."""
    if bucket and of_label_studio and status == 404:
        return (
            f"Label Studio has no storage for {bucket}: add one in the project's settings "
            "(Cloud Storage), for that bucket"
        )
    if bucket and status in NOT_IN_STORAGE:
        return (
            f"{host} answered {status}: the object is gone, or the credentials of the storage of "
            f"{bucket} in Label Studio may not read it"
        )
    return f"{host} answered {status}"


def _parsed(url: str) -> httpx.URL:
    """Parse an address. Raises ImageUnreadable where it is none."""
    try:
        return httpx.URL(url).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError):
        raise ImageUnreadable(f"{url[:60]!r} is not an address") from None


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    """Return (scheme, host, port), by which Label Studio is told from everybody else."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return url.scheme, url.raw_host.decode("ascii"), port
