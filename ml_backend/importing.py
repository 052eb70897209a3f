"""The story of an import: a source's images become tasks of a Label Studio project, each once.

    settle what a crash left open → read → leave out what is known → send → confirm

An image is known by its content, so running an import again, or after a crash at any moment,
changes nothing that is there already. Memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources import Problems, Source, SourceItem
from ml_backend.steps.read_source import ReadImage, ReadingRules, Survey, read_ahead, survey
from ml_backend.steps.send_images import ImportBench, begin, send, settle

__all__ = [
    "ImportBench",
    "ImportReport",
    "ReadingRules",
    "Survey",
    "begin",
    "check_classes",
    "import_images",
    "survey",
]

BATCH = 250  # images a call: some 0.3 s of Label Studio's time
UPLOAD_BATCH_BYTES = 32 * 2**20

OnProgress = Callable[[int], None]


@dataclass(slots=True)
class ImportReport:
    """What came of an import. Lists hold their first hundred; counts are whole."""

    imported: int = 0
    labeled: int = 0  # of these, with a label of the source
    known: int = 0  # imported by an earlier run
    duplicates: Problems = field(default_factory=Problems)  # (key, of which other)
    conflicts: Problems = field(default_factory=Problems)  # duplicates with another label
    unreadable: Problems = field(default_factory=Problems)
    skipped: Problems = field(default_factory=Problems)  # rows that the source could not use

    @property
    def seen(self) -> int:
        """Images of the source that were looked at."""
        return self.imported + self.known + self.duplicates.count + self.unreadable.count


def import_images(
    bench: ImportBench,
    source: Source,
    rules: ReadingRules,
    on_progress: OnProgress = lambda _seen: None,
    limit: int | None = None,
) -> ImportReport:
    """Import a source's images; `limit` stops after that many of its items.

    One import of a project at a time: the caller sees to it. Raises ConfigurationError,
    LabelStudioError; what was imported until then stays, and the next run goes on behind it.
    """
    report = ImportReport()
    begin(bench)
    settle(bench)
    items = _at_most(source.items(), limit)
    for batch in _batches(_readable(items, rules, report)):
        new = _unknown(bench, batch, report)
        if new:
            send(bench, new)
        report.imported += len(new)
        report.labeled += sum(image.item.label is not None for image in new)
        on_progress(report.seen)
    report.skipped = source.problems
    on_progress(report.seen)
    return report


def check_classes(found: Collection[str], classes: Collection[str]) -> None:
    """Refuse labels that the project's labeling config does not have.

    Raises ConfigurationError, which names them.
    """
    missing = sorted(set(found) - set(classes))
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ConfigurationError(
            f"the project's labeling config has no choice {', '.join(map(repr, missing[:5]))}"
            f"{more} (it has {', '.join(map(repr, list(classes)[:10]))}): add it there, or do not "
            "show the labels (--labels hide)"
        )


def _at_most(items: Iterator[SourceItem], limit: int | None) -> Iterator[SourceItem]:
    for place, item in enumerate(items):
        if limit is not None and place >= limit:
            return
        yield item


def _readable(
    items: Iterable[SourceItem], rules: ReadingRules, report: ImportReport
) -> Iterator[ReadImage]:
    for item, read in read_ahead(items, rules):
        if isinstance(read, ImageUnreadable):
            report.unreadable.note(item.key, str(read))
        else:
            yield read


def _batches(images: Iterable[ReadImage]) -> Iterator[list[ReadImage]]:
    """Cut into calls: by number, and for uploads by bytes as well."""
    batch: list[ReadImage] = []
    size = 0
    for image in images:
        batch.append(image)
        size += len(image.content or b"")
        if len(batch) >= BATCH or size >= UPLOAD_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _unknown(bench: ImportBench, batch: list[ReadImage], report: ImportReport) -> list[ReadImage]:
    """Leave out what was imported before, by an earlier run or under another name."""
    hashes = [image.content_hash for image in batch]
    known = bench.store.known_imports(bench.project_id, hashes)
    seen = {digest: (image.source_key, image.label) for digest, image in known.items()}
    new = []
    for image in batch:
        first = seen.get(image.content_hash)
        if first is None:
            seen[image.content_hash] = (image.item.key, image.item.label)
            new.append(image)
        elif first[0] == image.item.key and image.content_hash in known:
            report.known += 1
        else:
            _note_duplicate(report, image.item, *first)
    return new


def _note_duplicate(
    report: ImportReport, item: SourceItem, other: str, other_label: str | None
) -> None:
    report.duplicates.note(item.key, f"the same image as {other}")
    if item.label is not None and other_label is not None and item.label != other_label:
        report.conflicts.note(item.key, f"{item.label!r} here, {other_label!r} at {other}")
