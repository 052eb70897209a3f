"""Read a source's images ahead of whoever sends them, and say where each is shown from.

Knows sources and image files. What was imported before, and Label Studio itself, are not its
business.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.labelstudio.task_importer import local_files_address
from ml_backend.learning.images import decode, format_of
from ml_backend.sources import Source, SourceItem
from ml_backend.sources.pngs import png_of

MOST_CLASSES = 10_000
# What Label Studio takes as an upload and browsers show; the rest becomes PNG.
ENDINGS = {
    **{"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp"},
    "WEBP": ".webp",
}
# Addresses that Label Studio can show, by the scheme that libraries of storage services use.
SHOWN_SCHEMES = {
    **{each: each for each in ("http", "https", "s3", "gs")},
    **{"gcs": "gs", "az": "azure-blob", "abfs": "azure-blob", "abfss": "azure-blob"},
}

NO_QUESTION_MARKS = (
    "Label Studio reads the name of an object up to a question mark: rename it, or upload the "
    "images (--upload)"
)


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """How images are read. `by_address` trusts addresses and fetches nothing.

    `upload_stored`: upload what Label Studio could show through a cloud storage alone.
    """

    upload: bool = False
    upload_stored: bool = False
    by_address: bool = False
    document_root: Path | None = None
    max_bytes: int = 50 * 2**20
    max_pixels: int = 100_000_000
    workers: int = 8


@dataclass(frozen=True, slots=True)
class ReadImage:
    """One image that can be imported. `content` is kept for uploads alone; else `uri` is given."""

    item: SourceItem
    content_hash: str
    uri: str | None
    content: bytes | None = None
    ending: str = ""

    @property
    def file_name(self) -> str:
        """A name for an upload that tells people and models nothing."""
        return f"{self.content_hash[:16]}{self.ending}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a source's names finds, without reading an image."""

    images: int
    labels: dict[str, int]  # class → images of it, in order of the names


def survey(source: Source) -> Survey:
    """Count images and classes. Raises ConfigurationError where the labels are no classes."""
    images, labels = 0, dict[str, int]()
    for item in source.items():
        images += 1
        if item.label is not None:
            labels[item.label] = labels.get(item.label, 0) + 1
            if len(labels) > MOST_CLASSES:
                raise ConfigurationError(
                    f"{source.describe()}: more than {MOST_CLASSES:,} different labels, such as "
                    f"{item.label!r}; is that the column of classes?"
                )
    return Survey(images, dict(sorted(labels.items())))


def read_ahead(
    items: Iterable[SourceItem], rules: ReadingRules
) -> Iterator[tuple[SourceItem, ReadImage | ImageUnreadable]]:
    """Read images in threads, in order; at most a few a thread are in memory.

    Raises ConfigurationError where Label Studio could not show such images at all.
    """
    if rules.by_address:  # nothing to wait for
        yield from ((item, read_image(item, rules)) for item in items)
        return
    stream = iter(items)
    with ThreadPoolExecutor(rules.workers, "read-source") as threads:
        waiting: deque[tuple[SourceItem, Future[ReadImage | ImageUnreadable]]] = deque()

        def fill() -> None:
            for item in islice(stream, 2 * rules.workers - len(waiting)):
                waiting.append((item, threads.submit(read_image, item, rules)))

        fill()
        try:
            while waiting:
                item, future = waiting.popleft()
                yield item, future.result()
                fill()
        finally:
            for _, future in waiting:
                future.cancel()


def read_image(item: SourceItem, rules: ReadingRules) -> ReadImage | ImageUnreadable:
    """Hash one image, check that it is one, and find its address."""
    try:
        uploaded = rules.upload or (rules.upload_stored and _is_stored(item.uri or ""))
        uri = None if uploaded else _address(item, rules.document_root)
        if rules.by_address and uri is not None and item.uri is not None:
            digest = hashlib.sha256(item.uri.encode()).hexdigest()
            return ReadImage(item, f"uri:{digest}", uri)
        content = item.read_bytes(rules.max_bytes)
        digest, kind = hashlib.sha256(content).hexdigest(), format_of(content, rules.max_pixels)
        if not uploaded:
            return ReadImage(item, digest, uri)
        if kind not in ENDINGS:
            content, kind = png_of(decode(content, rules.max_pixels)), "PNG"
    except ImageUnreadable as error:
        return error
    return ReadImage(item, digest, None, content, ENDINGS[kind])


def _is_stored(uri: str) -> bool:
    scheme = uri.partition("://")[0].lower()
    return scheme in SHOWN_SCHEMES and not scheme.startswith("http")


def _address(item: SourceItem, document_root: Path | None) -> str:
    if item.uri is not None:
        scheme, _, rest = item.uri.partition("://")
        if scheme.lower() in SHOWN_SCHEMES:
            if "?" in rest and _is_stored(item.uri):
                raise ImageUnreadable(NO_QUESTION_MARKS)
            return f"{SHOWN_SCHEMES[scheme.lower()]}://{rest}"
    elif item.path is not None and document_root is not None:
        address = local_files_address(item.path, document_root)
        if address is not None:
            return address
    raise ConfigurationError(_why_not_shown(item, document_root))


def _why_not_shown(item: SourceItem, document_root: Path | None) -> str:
    if item.path is None:
        return (
            f"Label Studio cannot show {item.uri or item.key!r} from where it is: upload the "
            "images (--upload)"
        )
    if document_root is None:
        return (
            f"Label Studio cannot show {item.path} from where it is: upload the images (--upload), "
            "or set LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT, for Label Studio too, to a folder "
            "around them"
        )
    return (
        f"{item.path} lies outside LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT ({document_root}): "
        "upload the images (--upload), or move one or the other"
    )
