"""The trainer: a process of its own that runs rounds for projects that have become dirty.

Ten annotations that arrive during a round make one next round, not ten. When nothing is dirty it
looks at Label Studio for what webhooks did not tell, and clears superseded versions away. It may
be killed at any moment: its lease runs out, and the next trainer goes on from the store.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from ml_backend.errors import ActiveLabelerError, LeaseLost
from ml_backend.jobs.fronts import ASKED
from ml_backend.jobs.job_loop import JobLoop
from ml_backend.jobs.slow_loop import SlowLoop
from ml_backend.jobs.store import Claim, Store
from ml_backend.learning.checkpoints import RoundResults
from ml_backend.rounds import Mode, Round, run_round
from ml_backend.steps.collect import COUNT, ECHOES, LOOK, only_looked
from ml_backend.steps.embed import time_slice
from ml_backend.steps.front import tend_front
from ml_backend.steps.publish import publish_rest, tidy
from ml_backend.steps.workbench import Workbench

log = logging.getLogger(__name__)

LEASE_S = 15.0
IDLE_S = 0.05  # between two looks into the store; part of every annotator's latency
BEAT_S = 5.0
# Superseded versions are cleared only when nobody has annotated for this long.
QUIET_S = 3.0
# After a round somebody is taken to be at work for so long; then one look in ten is a whole one.
BUSY_S = 30.0
WHOLE_LOOK_EVERY = 10
# An appraisal takes seconds, in a process of its own; where people never pause, so often.
APPRAISE_EVERY_S = 120.0
NEVER = float("-inf")  # monotonic clocks may start at 0
# Then this long at a time: between two slices the trainer beats, and looks for lost news.
TIDY_S = 1.0
# A failed round is tried again after this long, doubled with each failure, up to the second.
RETRY_S = (2.0, 60.0)


@dataclass(slots=True)
class ProjectMemory:
    """What the trainer remembers of a project between rounds. Losing it costs time alone."""

    results: RoundResults | None = None
    failures: int = 0
    last_round: float = NEVER  # monotonic seconds
    last_look: float = NEVER
    last_whole_look: float = NEVER
    last_appraisal: float = NEVER
    tidied: bool = False
    appraised: bool = False


@dataclass(slots=True)
class Trainer:
    """Runs rounds until it is stopped.

    `workbench(project_id, still_ours)` builds what a round of that project needs.
    """

    store: Store
    workbench: Callable[[int, Callable[[], None]], Workbench]
    last_results: Callable[[int], RoundResults | None]
    reconcile_s: float
    now: Callable[[], datetime]
    stopping: threading.Event = field(default_factory=threading.Event)
    owner: str = field(default_factory=lambda: trainer_name())
    memory: dict[int, ProjectMemory] = field(default_factory=dict)
    tidy_s: float = TIDY_S
    slow: SlowLoop | None = None  # None: networks are never fine-tuned
    jobs: JobLoop | None = None  # None: nobody asks for anything
    _last_beat: float = 0.0

    def run_forever(self) -> None:
        """Take one step after the other until `stopping` is set."""
        self._warm_up()
        log.info("trainer %s: ready", self.owner)
        while not self.stopping.is_set():
            try:
                worked = self.step()
            except Exception:  # the process's edge: a full disk or a locked database passes
                log.exception("trainer %s: the store failed, trying again", self.owner)
                self.stopping.wait(RETRY_S[0])
                continue
            if not worked:
                self.stopping.wait(IDLE_S)
        for loop in (self.slow, self.jobs):
            if loop is not None:
                loop.stop()
        log.info("trainer %s: stopped", self.owner)

    def _warm_up(self) -> None:
        """Load the networks, which takes seconds, before an annotator waits for the first round."""
        for project in self.store.projects():
            if project.current_version is None:  # its first round is still to come, or at work
                continue
            self._beat("warming up")
            try:
                self.workbench(project.project_id, lambda: None).backbone()
            except Exception:  # the process's edge: the round that needs it will say so again
                log.exception("project %d: its network cannot be loaded", project.project_id)

    def step(self) -> bool:
        """Run a round, or a chore, if there is one. Returns whether there was anything to do."""
        self._beat("idle")
        for loop in (self.slow, self.jobs):
            if loop is not None:
                loop.tend()
        claim = self.store.claim(self.owner, LEASE_S, self.now())
        if claim is not None:
            self.work_on(claim)
            return True
        # A project without a webhook is one whose `connect` did not come through.
        connected = [each.project_id for each in self.store.projects() if each.webhook_id]
        return any([self._chores(project_id) for project_id in connected])

    def work_on(self, claim: Claim) -> None:
        """Run the claimed round to its end: the order, then what follows behind the front."""
        memory = self._memory(claim.project_id)
        try:
            with self._kept(claim) as still_ours:
                bench = self.workbench(claim.project_id, still_ours)
                if only_looked(bench, claim):
                    self.store.finish(claim, self.now())
                    return
                memory.last_round = time.monotonic()  # a look alone is nobody at work
                if self.slow is not None:
                    self.slow.heard(claim.project_id, claim.events)
                previous = self._previous(claim.project_id, memory)
                done = run_claimed(bench, claim, previous, lambda: self._newer_news(claim))
                self._remember(memory, done)
                if self.slow is not None:
                    self.slow.after_round(claim.project_id, done.report())
        except LeaseLost:
            log.warning("project %d: another trainer took over", claim.project_id)
        except Exception as error:  # noqa: BLE001 - the loop's edge: one project must not stop all
            self._note_failure(claim, memory, error)

    def _remember(self, memory: ProjectMemory, done: Round) -> None:
        memory.results, memory.failures = done.results, 0
        memory.tidied = memory.appraised = False
        log.info("round %d: %s %s", done.round_id, done.state, done.report())

    def _note_failure(self, claim: Claim, memory: ProjectMemory, error: Exception) -> None:
        memory.failures += 1
        first, most = RETRY_S
        wait_s = min(most, first * 2 ** (memory.failures - 1))
        expected = isinstance(error, ActiveLabelerError)
        log.error(
            "project %d: round failed, next try in %.0f s: %s",
            claim.project_id,
            wait_s,
            error,
            exc_info=None if expected else error,
        )
        self.store.abandon(claim, self.now() + timedelta(seconds=wait_s))

    def _chores(self, project_id: int) -> bool:
        """Look for what webhooks did not tell; when nobody annotates, clear old versions away."""
        memory = self._memory(project_id)
        if time.monotonic() - memory.last_look > self.reconcile_s:
            memory.last_look = time.monotonic()
            self.store.mark_dirty(project_id, self._kind_of_look(memory), self.now())
            return True
        quiet = time.monotonic() - memory.last_round > QUIET_S
        self._appraise(project_id, memory, quiet=quiet)
        if memory.tidied or not quiet:
            return False
        self._tidy(project_id, memory)
        return True

    def _appraise(self, project_id: int, memory: ProjectMemory, *, quiet: bool) -> None:
        """Have the labels appraised: where nobody is at work, and else now and then."""
        long_ago = time.monotonic() - memory.last_appraisal > APPRAISE_EVERY_S
        if self.jobs is None or memory.appraised or not (quiet or long_ago):
            return
        memory.appraised, memory.last_appraisal = True, time.monotonic()
        self.jobs.appraise(project_id)

    def _kind_of_look(self, memory: ProjectMemory) -> str:
        """Compare counters alone where somebody is at work and would wait for a whole look."""
        now = time.monotonic()
        busy = now - memory.last_round < BUSY_S
        if busy and now - memory.last_whole_look < WHOLE_LOOK_EVERY * self.reconcile_s:
            return COUNT
        memory.last_whole_look = now
        return LOOK

    def _tidy(self, project_id: int, memory: ProjectMemory) -> None:
        try:
            bench = self.workbench(project_id, lambda: None)
            enough = time_slice(self.tidy_s, lambda: self._has_work(project_id))
            gone = tidy(bench, enough)
            memory.tidied = not enough()
            log.debug("project %d: %d superseded predictions deleted", project_id, gone)
        except ActiveLabelerError as error:
            memory.tidied = True  # tried again after the next round
            log.warning("project %d: superseded versions stay for now: %s", project_id, error)

    def _has_work(self, project_id: int) -> bool:
        return self.stopping.is_set() or self.store.is_dirty(project_id)

    def _kept(self, claim: Claim) -> AbstractContextManager[Callable[[], None]]:
        doing = f"project {claim.project_id}"
        beat = partial(self.store.beat, self.owner, doing=doing)
        return kept_claim(self.store, claim, self.now, lambda: beat(now=self.now()))

    def _newer_news(self, claim: Claim) -> bool:
        # Switching the queue comes back as PROJECT_UPDATED: that must not cut its own round short.
        return self.stopping.is_set() or self.store.is_dirty(claim.project_id, ignoring=ECHOES)

    def _previous(self, project_id: int, memory: ProjectMemory) -> RoundResults | None:
        """Return the results in force; another process, such as `sync`, may have published."""
        project = self.store.get_project(project_id)
        remembered = memory.results.model_version if memory.results else None
        if project is not None and project.current_version != remembered:
            memory.results = self.last_results(project_id)
        return memory.results

    def _memory(self, project_id: int) -> ProjectMemory:
        if project_id not in self.memory:
            self.memory[project_id] = ProjectMemory(self.last_results(project_id))
        return self.memory[project_id]

    def _beat(self, doing: str) -> None:
        if time.monotonic() - self._last_beat > BEAT_S:
            self._last_beat = time.monotonic()
            self.store.beat(self.owner, self.now(), doing)


def run_claimed(
    bench: Workbench,
    claim: Claim,
    previous: RoundResults | None,
    newer_news: Callable[[], bool],
    mode: Mode = Mode(),  # noqa: B008 - frozen
) -> Round:
    """Run a round, write what follows behind the front, and give the claim back as done.

    Images that are left make the project dirty again, as does a queue that was not written whole,
    and an order that a dry run found and did not publish.
    """
    done = run_round(bench, claim, previous, newer_news, mode)
    unwritten = mode.dry_run and done.new_order
    if done.state == "published" and done.version:
        with done.timed("publish_rest"):
            written = publish_rest(bench, done.version, done.entries, newer_news)
        unwritten = bench.plan.front + written < len(done.entries)
        bench.store.finish_round(
            done.round_id,
            bench.now(),
            state=done.state,
            model_version=done.version,
            report=done.report(),
        )
    tended = mode.dry_run or tend_front(bench, newer_news)
    if not tended:
        bench.store.mark_dirty(claim.project_id, ASKED, bench.now())
    if done.images_left:
        bench.store.mark_dirty(claim.project_id, "embed", bench.now())
    if unwritten:
        bench.store.mark_dirty(claim.project_id, "publish", bench.now())
    bench.store.finish(claim, bench.now())
    return done


@contextmanager
def kept_claim(
    store: Store,
    claim: Claim,
    now: Callable[[], datetime],
    beat: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[], None]]:
    """Renew a claim in the background and yield `still_ours`, which raises LeaseLost if it failed.

    `beat` is called along, so that a trainer in a long round is not taken for a dead one.
    """
    over = threading.Event()
    lost: list[LeaseLost] = []

    def keep() -> None:
        while not over.wait(LEASE_S / 3):
            try:
                store.renew(claim, LEASE_S, now())
                beat()
            except LeaseLost as error:
                lost.append(error)
                return

    def still_ours() -> None:
        if lost:
            raise lost[0]

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield still_ours
    finally:
        over.set()
        thread.join()


def trainer_name() -> str:
    """Name this process so that no two trainers, on any machine, are one."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
