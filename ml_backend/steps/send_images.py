"""Send images to Label Studio so that none is lost and none comes twice, whatever breaks when.

Each image is noted in the store before it is sent and confirmed after Label Studio has answered.
Where the answer is missing, Label Studio is asked by the hash that each task carries.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ml_backend.errors import ConfigurationError, LabelStudioError, LabelStudioUnreachable
from ml_backend.jobs.store import ImportedImage, ImportProject, Store
from ml_backend.labelstudio.task_importer import NewTask
from ml_backend.steps.read_source import ReadImage

log = logging.getLogger(__name__)

# Label Studio may still be at work on a call whose client is gone: so long after it was sent, what
# is not there will not come. A call of a batch takes well under a second.
SETTLE_S = 30.0
POLL_S = 0.5
ATTEMPTS = 3  # for one batch, where Label Studio does not answer


class Importer(Protocol):
    """Label Studio as an import sees it: `labelstudio.task_importer.TaskImporter`."""

    def created_at(self) -> str:
        """When the project was made."""

    def newest_task_id(self) -> int:
        """The highest task id; 0 where there is none."""

    def send(self, tasks: Sequence[NewTask]) -> dict[str, int]:
        """Make all tasks or none; their ids by content hash."""

    def find(self, hashes: Sequence[str], after: int) -> dict[str, int]:
        """The tasks of images, above an id, by content hash."""

    def upload(self, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Store files; their addresses."""

    def offer_local_files(self, paths: Sequence[Path], document_root: Path) -> None:
        """Let Label Studio show local files."""


@dataclass(frozen=True, slots=True)
class ImportBench:
    """What an import works with. `show_labels`: labels become annotations in Label Studio."""

    project_id: int
    label_studio_url: str
    store: Store
    importer: Importer
    now: Callable[[], datetime]
    show_labels: bool = True
    document_root: Path | None = None
    pause: Callable[[float], None] = time.sleep


def begin(bench: ImportBench) -> None:
    """Note which project this is. Raises ConfigurationError where its number meant another."""
    created_at = bench.importer.created_at()
    before = bench.store.import_project(bench.project_id)
    if before is not None and before.label_studio_url != bench.label_studio_url:
        raise ConfigurationError(
            f"project {bench.project_id} in this MODEL_DIR was imported into at "
            f"{before.label_studio_url}, and LABEL_STUDIO_URL is {bench.label_studio_url}: use "
            "another MODEL_DIR for it"
        )
    if before is None or before.created_at != created_at:
        newest = bench.importer.newest_task_id()
        bench.store.begin_imports(
            ImportProject(
                project_id=bench.project_id,
                label_studio_url=bench.label_studio_url,
                created_at=created_at,
                first_task_after=newest,
            )
        )


def settle(bench: ImportBench) -> None:
    """Find out what became of images that were sent and never answered for.

    Those that Label Studio has are confirmed, the others forgotten: they can be sent again.
    """
    waiting = {each.content_hash: each for each in bench.store.unanswered_imports(bench.project_id)}
    if not waiting:
        return
    sent_at = max(each.sent_at for each in waiting.values())
    after = bench.store.newest_import(bench.project_id) or _first(bench)
    waited_s = 0.0
    while True:
        settled = max(waited_s, (bench.now() - sent_at).total_seconds()) >= SETTLE_S
        # Ids come anew where the newest tasks were deleted, so the last look is from the start.
        found = bench.importer.find([*waiting], _first(bench) if settled else after)
        bench.store.confirm_imports(bench.project_id, found)
        waiting = {key: each for key, each in waiting.items() if key not in found}
        if settled or not waiting:
            break
        bench.pause(POLL_S)
        waited_s += POLL_S
    bench.store.forget_imports(bench.project_id, [*waiting])
    log.info("settled what was sent without an answer; %d images were not there", len(waiting))


def send(bench: ImportBench, images: Sequence[ReadImage]) -> None:
    """Import images that are not known yet, as one batch of distinct content.

    Raises LabelStudioError; what was sent without an answer is settled at the next start.
    """
    tasks = [_task(bench, *each) for each in zip(images, _addresses(bench, images), strict=True)]
    for attempt in range(1, ATTEMPTS + 1):
        known = bench.store.known_imports(bench.project_id, [each.content_hash for each in images])
        left = [each for each in images if each.content_hash not in known]
        if not left:
            return
        bench.store.note_imports(bench.project_id, [_row(bench, image) for image in left])
        try:
            made = bench.importer.send([each for each in tasks if each.content_hash not in known])
        except LabelStudioUnreachable as error:
            log.warning("attempt %d of %d: %s", attempt, ATTEMPTS, error)
            if attempt == ATTEMPTS:
                raise
            settle(bench)
        except LabelStudioError:
            bench.store.forget_imports(bench.project_id, [each.content_hash for each in left])
            raise
        else:
            bench.store.confirm_imports(bench.project_id, made)
            return


def _addresses(bench: ImportBench, images: Sequence[ReadImage]) -> list[str]:
    """Upload what is to be uploaded; return where Label Studio shows each image from."""
    local = [each.item.path.resolve() for each in images if each.uri and each.item.path]
    if local and bench.document_root is not None:
        bench.importer.offer_local_files(local, bench.document_root.resolve())
    kept = [(each.file_name, each.content) for each in images if each.content is not None]
    uploaded = iter(bench.importer.upload(kept) if kept else [])
    return [each.uri or next(uploaded) for each in images]


def _task(bench: ImportBench, image: ReadImage, address: str) -> NewTask:
    if not bench.show_labels:  # names of files and columns can tell the label as well
        return NewTask(image.content_hash, address)
    item = image.item
    meta = {"key": item.key} | ({"split": item.split} if item.split else {})
    return NewTask(image.content_hash, address, item.label, item.metadata, meta)


def _row(bench: ImportBench, image: ReadImage) -> ImportedImage:
    return ImportedImage(
        content_hash=image.content_hash,
        source_key=image.item.key,
        label=image.item.label,
        split=image.item.split,
        sent_at=bench.now(),
    )


def _first(bench: ImportBench) -> int:
    project = bench.store.import_project(bench.project_id)
    return project.first_task_after if project else 0
