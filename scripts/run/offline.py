"""The story of a run without Label Studio: an oracle labels on paper, in the same rounds.

    read the data → round → label what it wants first → round → ... → export

The rounds are `ml_backend.rounds.run_round`; what is labeled, measured and exported is the same as
with Label Studio. State is in the store alone, and a batch of labels is one transaction, so a run
that was killed goes on where it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ml_backend import wiring
from ml_backend.errors import ConfigurationError
from ml_backend.exporting.pictures import ImageFiles
from ml_backend.jobs.background import Process
from ml_backend.jobs.store import ConnectedProject, ImportedImage, ImportProject, Store
from ml_backend.jobs.trainer import LEASE_S, kept_claim, run_claimed
from ml_backend.labelstudio.labeling_config import hash_of, parse_control
from ml_backend.labelstudio.new_project import config_of_classes
from ml_backend.rounds import Mode, Round
from ml_backend.settings import Settings
from ml_backend.sources import Source, SourceItem
from ml_backend.steps.read_source import ReadImage, ReadingRules, read_ahead
from ml_backend.wiring import processes
from ml_backend.wiring.backbone_shelf import Backbones
from ml_backend.wiring.fine_tunes import slow_loop
from scripts.commands.shell import progress_bars
from scripts.run.data import classes_of
from scripts.run.finish import export
from scripts.run.in_force import Run, settings_of
from scripts.run.memory import RunMemory, remember
from scripts.run.paper import ADDRESS, NOBODYS, PROJECT_ID, PaperProject
from scripts.run.servers import backbone_of
from scripts.run.target import Standing, reached

if TYPE_CHECKING:  # loads torch
    from ml_backend.learning.backbones import Backbone

OWNER = "offline"  # one name: a run that was killed may go on at once, under the folder's lock
FOLDER = "offline"
READ_AT_ONCE = 500


@dataclass
class OfflineRun:
    """A run on paper, with all that it works with."""

    run: Run
    settings: Settings
    store: Store
    paper: PaperProject
    truth: Mapping[int, str]  # task id → class
    memory: RunMemory
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Load the network once."""
        self.backbones = Backbones(self.settings)
        self.workbench = wiring.workbench_factory(
            self.settings,
            self.store,
            backbones=self.backbones,
            sides=lambda _project: self.paper.side(),
        )

    @property
    def project(self) -> ConnectedProject:
        """The project as the store has it now."""
        project = self.store.get_project(PROJECT_ID)
        assert project is not None
        return project

    def round(self) -> Round:
        """Run one round, as `active-labeler sync` does."""
        self.store.mark_dirty(PROJECT_ID, "labels", _now())
        claim = self.store.claim(OWNER, LEASE_S, _now(), PROJECT_ID, skip_backoff=True)
        assert claim is not None  # it is dirty, and nobody else's
        with kept_claim(self.store, claim, _now) as still_ours:
            bench = self.workbench(PROJECT_ID, still_ours)
            previous = wiring.last_results(self.settings)(PROJECT_ID)
            mode = Mode(patient=True, anew=True)
            return run_claimed(bench, claim, previous, lambda: False, mode)

    def standing(self, done: Round) -> Standing:
        """Return how the run stands after a round."""
        return Standing(
            labeled=self.paper.labeled,
            tasks=len(self.paper.items),
            hours=(self.memory.open_s + time.monotonic() - self.started) / 3600,
            classes=self._classes(),
            left=len(self.truth) - self.paper.labeled,
            **Standing.accuracy_of(done.report()),
        )

    def next_labels(self) -> dict[int, str]:
        """Return what the oracle says to the next batch: the examples, the beginning, a round."""
        labeling, labeled = self.run.config.labeling, self.paper.labeled
        examples = self._examples()
        if examples:
            return examples
        size = labeling.labels_per_round
        if labeled < labeling.initial_count():
            size = labeling.initial_count() - labeled
        most = labeling.most_labels()
        size = size if most is None else min(size, most - labeled)
        served = self.paper.unlabeled()
        known = (task_id for task_id in self._in_order(served) if task_id in self.truth)
        return {task_id: self.truth[task_id] for task_id in islice(known, size)}

    def fine_tune_where_due(self, done: Round) -> None:
        """Train the network itself where there is enough new, as the trainer would by itself."""
        slow = slow_loop(self.settings, self.store, _now, has_gpu=self.backbones.has_gpu())
        slow.start = self._fine_tune
        slow.after_round(PROJECT_ID, done.report())
        while (latest := self.store.fine_tunes(PROJECT_ID, limit=1)) and latest[0].is_open:
            if self.store.waiting_fine_tune(_now()) is None:
                time.sleep(0.5)  # a killed one's lease runs out
                continue
            self._fine_tune(latest[0].fine_tune_id)

    def backbone(self) -> Backbone:
        """Return the network in force."""
        return self.workbench(PROJECT_ID, lambda: None).backbone()

    def keep_time(self) -> None:
        """Note how long this start has lasted."""
        self.memory.open_s += time.monotonic() - self.started
        self.started = time.monotonic()
        remember(self.run.folder, self.memory)

    def _fine_tune(self, fine_tune_id: int) -> Process:
        processes.run_fine_tune(
            self.settings,
            self.store,
            fine_tune_id,
            threading.Event(),
            sides=lambda _project: self.paper.side(),
        )
        return _Ended()

    def _examples(self) -> dict[int, str]:
        """Return the examples that are not labeled yet. Raises ConfigurationError."""
        wanted = self.run.config.labeling.examples
        if not wanted or self.paper.labeled:
            return {}
        return examples_of(wanted, {task: item.key for task, item in self.paper.items.items()})

    def _in_order(self, served: Sequence[int]) -> Iterator[int]:
        """Yield what is served, then what lies beyond the window."""
        yield from served
        seen = set(served)
        labeled = self.paper.is_labeled
        yield from (task for task in self.paper.items if task not in seen and not labeled(task))

    def _classes(self) -> dict[str, int]:
        counts = dict.fromkeys(self.project.control.classes, 0)
        for choice in self.paper.choices():
            counts[choice] = counts.get(choice, 0) + 1
        return counts


class _Ended:
    """A fine-tune that ran in this process."""

    def poll(self) -> int:
        """Say that it has ended."""
        return 0

    def terminate(self) -> None:
        """Nothing is left to end."""


def prepare(run: Run, data: Source, memory: RunMemory, console: Console) -> OfflineRun:
    """Read the data and set a run up, or go on with one.

    Raises ConfigurationError where no label is known that the oracle could give.
    """
    own: dict[str, Any] = {"model_dir": run.folder / FOLDER, "label_studio_url": ADDRESS}
    settings = settings_of(run, **own, **backbone_of(run, own, memory, console))
    store = wiring.open_store(settings)
    console.print(data.describe(), highlight=False, markup=False)
    items = _read(store, data, ReadingRules(upload=True, max_bytes=settings.image_max_bytes))
    known = {task_id: item.label for task_id, item in items.items() if item.label is not None}
    if not known:
        raise ConfigurationError(
            f"{data.describe()}: no label is known that an oracle could give; without --offline "
            "people label, in Label Studio"
        )
    config = config_of_classes(classes_of(run, set(known.values())))
    project = run.config.project
    if store.get_project(PROJECT_ID) is None:
        store.save_project(_project(project.title, config, settings, _now()))
        store.mark_dirty(PROJECT_ID, "connect", _now())
    paper = PaperProject(store, project.title, config, items, settings.image_max_bytes)
    return OfflineRun(run, settings, store, paper, known, memory)


def play(offline: OfflineRun, show: Callable[[Standing], None]) -> str:
    """Label round by round until a target is reached; return which."""
    while True:
        done = offline.round()
        offline.fine_tune_where_due(done)
        now = offline.standing(done)
        show(now)
        offline.keep_time()
        if why := reached(offline.run.config.labeling, now):
            return why
        labels = offline.next_labels()
        if not labels:
            return "everything whose label is known is labeled"
        offline.paper.annotate(labels)


def finish(offline: OfflineRun) -> dict[str, Any]:
    """Export the labels."""
    paths = {item.key: item.path for item in offline.paper.items.values()}
    files = ImageFiles(
        read=offline.paper.read,
        local_file=paths.get,
        links=offline.run.config.export.files == "links",
        workers=offline.settings.fetch_workers,
    )
    with progress_bars() as on_progress:
        run, settings, store = offline.run, offline.settings, offline.store
        return export(run, settings, store, PROJECT_ID, on_progress, files)


def examples_of(wanted: Mapping[str, str], keys: Mapping[int, str]) -> dict[int, str]:
    """Return the class of each example by task. `wanted` maps classes to keys of the source.

    Raises ConfigurationError for an example that the source does not have.
    """
    tasks = {key: task_id for task_id, key in keys.items()}
    missing = [f"{name}: {key}" for name, key in wanted.items() if key not in tasks]
    if missing:
        raise ConfigurationError(
            f"labeling.examples: the source has no image {', '.join(missing)}; expected keys as "
            f"it has them, such as {next(iter(tasks), 'none')!r}"
        )
    return {tasks[key]: name for name, key in wanted.items()}


def _read(store: Store, data: Source, rules: ReadingRules) -> dict[int, SourceItem]:
    """Give every distinct image of the source a task, the same at every start."""
    if store.import_project(PROJECT_ID) is None:
        store.begin_imports(
            ImportProject(
                project_id=PROJECT_ID, label_studio_url=ADDRESS, created_at="", first_task_after=0
            )
        )
    known = {image.source_key: image for image in store.imported(PROJECT_ID)}
    items: dict[int, SourceItem] = {}
    new: list[SourceItem] = []
    for item in data.items():
        before = known.get(item.key)
        if before is not None and before.task_id is not None:
            items[before.task_id] = item
        else:
            new.append(item)
    for start in range(0, len(new), READ_AT_ONCE):
        read = [found for _, found in read_ahead(new[start : start + READ_AT_ONCE], rules)]
        items.update(_noted(store, [each for each in read if isinstance(each, ReadImage)]))
    return dict(sorted(items.items()))


def _noted(store: Store, images: Sequence[ReadImage]) -> dict[int, SourceItem]:
    """Note images that are not known by their content, in one transaction."""
    there = store.known_imports(PROJECT_ID, [image.content_hash for image in images])
    distinct = {image.content_hash: image for image in reversed(images)}
    new = [image for digest, image in reversed(distinct.items()) if digest not in there]
    first = (store.newest_import(PROJECT_ID) or 0) + 1
    rows = [_row(task_id, image) for task_id, image in enumerate(new, first)]
    store.note_imports(PROJECT_ID, rows)
    return {task_id: image.item for task_id, image in enumerate(new, first)}


def _row(task_id: int, image: ReadImage) -> ImportedImage:
    return ImportedImage(
        content_hash=image.content_hash,
        source_key=image.item.key,
        label=image.item.label,
        split=image.item.split,
        sent_at=_now(),
        task_id=task_id,
    )


def _project(title: str, config: str, settings: Settings, now: datetime) -> ConnectedProject:
    return ConnectedProject(
        project_id=PROJECT_ID,
        label_studio_url=settings.label_studio_url,
        title=title,
        control=parse_control(config, None),
        label_config_hash=hash_of(config),
        webhook_id=None,
        backend_id=None,
        backend_url="",
        secret_sha256="",
        found=NOBODYS,
        connected_at=now,
        audit_share=settings.audit_share,
    )


_now = wiring.utc_now
