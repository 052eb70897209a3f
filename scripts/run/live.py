"""The story of a run: a data set becomes a labeling, in Label Studio, by people or an oracle.

    Label Studio → project and images → backend → connect → people label → target → export

Every step knows what an earlier start has done, and goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console

from ml_backend import connecting, wiring
from ml_backend.errors import ConfigurationError
from ml_backend.importing import ImportReport, Survey, check_classes, import_images, survey
from ml_backend.jobs.store import Store
from ml_backend.settings import Settings
from ml_backend.wiring import imports
from scripts.child_processes import Child
from scripts.commands.doctor import print_findings
from scripts.commands.rounds import run_now
from scripts.commands.shell import progress_bars
from scripts.label_studio_content import signed_in
from scripts.oracle import Answered, annotate
from scripts.run.config import Labeling
from scripts.run.data import RunData, classes_of
from scripts.run.finish import export
from scripts.run.in_force import Run
from scripts.run.memory import ANNOTATOR, USERNAME
from scripts.run.servers import Servers
from scripts.run.show import Board
from scripts.run.target import Standing, reached

if TYPE_CHECKING:
    from ml_backend.steps.workbench import Workbench

LOOK_EVERY_S = 1.0
REMEMBER_EVERY_S = 10.0


@dataclass(frozen=True)
class Oracle:
    """Who labels in the place of people: the labels that the source knows."""

    pace_s: float  # between two answers
    labels: int | None = None  # so many, whatever was there before; None: up to the target
    heard: Callable[[Answered], None] | None = None  # gets each answer


@dataclass
class LiveRun:
    """A run whose servers are up."""

    run: Run
    data: RunData
    servers: Servers
    settings: Settings
    store: Store
    project_id: int
    children: tuple[Child, Child]
    started: float = field(default_factory=time.monotonic)
    _classes: dict[str, int] = field(default_factory=dict)
    _classes_of: str | None = None  # the version that they were counted at

    def standing(self) -> Standing:
        """Read from the store how the run stands."""
        counts = self.store.counts(self.project_id)
        rounds = self.store.rounds(self.project_id, limit=20)
        measured = next((r.report for r in rounds if "holdout_accuracy" in r.report), {})
        return Standing(
            labeled=counts.labeled,
            tasks=counts.tasks,
            hours=self.hours(),
            classes=self._labels_of_classes(),
            queue=self._queue(),
            **Standing.accuracy_of(measured),
        )

    def hours(self) -> float:
        """How long the run has been open, over all its starts."""
        return (self.servers.memory.open_s + time.monotonic() - self.started) / 3600

    def bench(self) -> Workbench:
        """Return what rounds of the project work with."""
        return wiring.workbench_factory(self.settings, self.store)(self.project_id, _nothing)

    def labeled_tasks(self) -> list[int]:
        """Return the tasks that were labeled by the last round, in the order in which they were."""
        usable = sorted(
            (each.annotation_id, each.task_id)
            for each in self.store.mirror(self.project_id).annotations
            if each.choice is not None and not each.was_cancelled
        )
        return list(dict.fromkeys(task_id for _, task_id in usable))

    def keep_time(self) -> None:
        """Note how long this start has lasted."""
        self.servers.memory.open_s = 3600 * self.hours()
        self.started = time.monotonic()
        self.servers.remember()

    def _labels_of_classes(self) -> dict[str, int]:
        project = self.store.get_project(self.project_id)
        version = project.current_version if project else None
        if version != self._classes_of:
            results = wiring.last_results(self.settings)(self.project_id)
            if results is not None:
                labels = np.concatenate([results.labels_M, results.holdout_labels_H])
                counts = np.bincount(labels, minlength=len(results.classes)).tolist()
                self._classes = dict(zip(results.classes, counts, strict=True))
            self._classes_of = version
        return self._classes

    def _queue(self) -> str:
        """Say whether the queue is in order."""
        project, beats = self.store.get_project(self.project_id), self.store.heartbeats()
        if project is None or project.current_version is None:
            return "no order yet"
        window = len(self.store.window(self.project_id, project.current_version))
        age_s = (datetime.now(UTC) - beats[0].seen_at).total_seconds() if beats else None
        trainer = "never seen" if age_s is None else f"seen {age_s:.0f} s ago"
        return f"{project.current_version}, {window} tasks in order; trainer {trainer}"


def begin(run: Run, data: RunData, servers: Servers, console: Console, *, hide: bool) -> LiveRun:
    """Bring everything up, with the images in the project; `hide` shows nobody known labels."""
    console.print(data.pool.describe(), highlight=False, markup=False)
    found = survey(data.pool)
    if not (servers.memory.project_id or run.config.project.number):
        classes_of(run, set(found.labels))  # what cannot begin is said before anything starts
    servers.start_label_studio()
    settings = servers.settings()
    store = wiring.open_store(settings)
    project_id = _import(run, data, found, settings, store, servers, hide=hide)
    settings, children = servers.start_backend(settings)
    live = LiveRun(run, data, servers, settings, store, project_id, children)
    connect(run, settings, store, project_id)
    label_examples(run, settings, store, project_id)
    return live


def finish(live: LiveRun) -> dict[str, Any]:
    """End the trainer, learn from the last labels, and export."""
    live.servers.stop_backend()
    with progress_bars() as on_progress:
        run_now(
            live.settings,
            live.store,
            live.project_id,
            on_progress,
            patient=True,
            release_hold=True,
            anew=True,
        )
        return export(live.run, live.settings, live.store, live.project_id, on_progress)


def connect(run: Run, settings: Settings, store: Store, project_id: int) -> None:
    """Do what `active-labeler connect` does; what works already is left as it is.

    Raises click.ClickException with doctor's table where the loop cannot work.
    """
    reached_at = run.config.project.backend_url or f"http://127.0.0.1:{settings.port}"
    connecting.connect(wiring.surroundings(settings, store, project_id), reached_at, None)
    with progress_bars() as on_progress:
        run_now(settings, store, project_id, on_progress, patient=True)
    findings = wiring.diagnose(settings, store, project_id)
    if any(finding.state == "failure" for finding in findings):
        print_findings(findings)
        raise click.ClickException(f"project {project_id} cannot be labeled like that, see above")


def label_examples(run: Run, settings: Settings, store: Store, project_id: int) -> None:
    """Label the examples that nobody has labeled, as the backend's own user."""
    wanted = run.config.labeling.examples
    if not wanted:
        return
    from scripts.run.offline import examples_of

    keys = {each.task_id: each.source_key for each in store.imported(project_id) if each.task_id}
    examples = examples_of(wanted, keys)
    project = store.get_project(project_id)
    assert project is not None  # it has just been connected
    control = project.control
    bench = wiring.workbench_factory(settings, store)(project_id, lambda: None)
    client = wiring.label_studio(settings)
    for tasks, answers in bench.reader.tasks_of(list(examples), control):
        done = {each.task_id for each in answers}
        for task in tasks:
            if task.task_id not in done:
                region = {
                    "from_name": control.from_name,
                    "to_name": control.to_name,
                    "type": "choices",
                    "value": {"choices": [examples[task.task_id]]},
                }
                client.post(f"/api/tasks/{task.task_id}/annotations/", {"result": [region]})


def document_root_of(run: Run) -> Path | None:
    """Return the folder that a local Label Studio may show files of; None where none is needed."""
    spec = run.source_spec() or {}
    place = spec.get("root") or spec.get("path")
    if run.config.project.upload or spec.get("kind") not in ("folder", "csv") or place is None:
        return None
    folder = Path(place).resolve()
    # Label Studio takes no storage that is the whole of it, so it gets the folder around.
    return folder.parent if folder.is_dir() else folder.parent.parent


def _import(
    run: Run,
    data: RunData,
    found: Survey,
    settings: Settings,
    store: Store,
    servers: Servers,
    *,
    hide: bool,
) -> int:
    """Bring what is not there yet into the project; return the project."""
    memory, project = servers.memory, run.config.project
    show_labels = run.config.data.known_labels == "keep" and not hide
    if not memory.project_id:
        memory.project_id = project.number or imports.new_project(
            settings, store, project.title, classes_of(run, set(found.labels))
        )
        servers.remember()
    target = imports.import_target(settings, memory.project_id)
    if show_labels:
        check_classes(found.labels, target.control.classes)
    upload = project.upload or (servers.local and servers.document_root is None)
    # A Label Studio of the run's own has no credentials for a bucket.
    rules = imports.reading_rules(settings, upload=upload, upload_stored=servers.local)
    with (
        imports.import_bench(settings, store, target, show_labels=show_labels) as bench,
        progress_bars() as on_progress,
    ):
        shown = partial(on_progress, "importing images")
        report = import_images(bench, data.pool, rules, lambda seen: shown(seen, found.images))
    _tell(report, servers.console)
    return memory.project_id


def _tell(report: ImportReport, console: Console) -> None:
    left_out = report.unreadable.count + report.skipped.count
    console.print(
        f"{report.imported} images imported, {report.known} were there, "
        f"{report.duplicates.count} are copies of others, {left_out} cannot be used",
        highlight=False,
    )
    for where, reason in [*report.unreadable.listed, *report.skipped.listed][:5]:
        console.print(f"  {where}: {reason}", highlight=False, markup=False)
    if report.imported + report.known == 0:
        raise ConfigurationError("no image could be imported: nothing to label")


def announce(live: LiveRun, console: Console, *, oracle: bool) -> None:
    """Say where things are, and what to do there."""
    url = f"{live.settings.label_studio_url}/projects/{live.project_id}/data"
    console.print(f"Label Studio: {url}", highlight=False)
    if live.servers.local:
        memory = live.servers.memory
        console.print(f"  login {ANNOTATOR}, password {memory.annotator_password}", highlight=False)
        page = f"http://127.0.0.1:{memory.backend_port}/ui/"
        console.print(f"What it is worth: {page}", highlight=False)
        console.print(f"  login {USERNAME}, password {memory.password}", highlight=False)
    who = "An oracle labels." if oracle else "Press Label All Tasks there."
    console.print(f"{who} Ctrl-C stops everything; started again, it goes on.", highlight=False)


def label(live: LiveRun, labeling: Labeling, console: Console, oracle: Oracle | None) -> str:
    """Show how the run stands until a target is reached; return which.

    By people, or by an oracle until it knows no more.
    """
    over = threading.Event()
    with ThreadPoolExecutor(1, "oracle") as pool, Board(console, labeling) as board:
        working = pool.submit(_work, live, labeling, oracle, over) if oracle else None
        try:
            why = _watch(live, labeling, board, working)
        finally:
            over.set()
    live.keep_time()
    return why


def _watch(live: LiveRun, labeling: Labeling, board: Board, working: Future[bool] | None) -> str:
    remembered = time.monotonic()
    while True:
        now = live.standing()
        board.show(now)
        if why := reached(labeling, now):
            return why
        if working is not None and working.done() and working.result():
            return "the oracle has labeled everything that it knows"
        for child in live.children:
            if child.ended():
                raise child.failure()
        if time.monotonic() - remembered > REMEMBER_EVERY_S:
            remembered = time.monotonic()
            live.keep_time()
        time.sleep(LOOK_EVERY_S)


def _work(live: LiveRun, labeling: Labeling, oracle: Oracle, over: threading.Event) -> bool:
    """Label as an annotator's browser does; return whether nothing is left for the oracle."""
    truth = {each.task_id: each.label for each in live.store.imported(live.project_id)}
    bench = live.bench()
    most = labeling.most_labels() or len(truth)
    # Annotations themselves, for a Label Studio that was killed may not have counted their tasks.
    there = bench.reader.facts().annotation_count
    to_do = most - there if oracle.labels is None else oracle.labels
    if to_do <= 0:
        return False
    control = bench.project.control
    names = (control.from_name, control.to_name)
    with signed_in(live.servers.url, ANNOTATOR, live.servers.memory.annotator_password) as client:
        for answered in annotate(
            client, live.project_id, lambda task: truth.get(task["id"]), names
        ):
            if oracle.heard:
                oracle.heard(answered)
            to_do -= 1
            if over.wait(oracle.pace_s) or to_do == 0:
                return oracle.labels is not None  # up to a target, the trainer's count decides
    return True


def _nothing() -> None:
    pass
