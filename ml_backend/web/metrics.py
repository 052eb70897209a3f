"""Prometheus metrics: requests and events as they are counted, everything else read at scrape time.

Counters belong to one process: with more than one worker each scrape shows the worker that
answered it. The gauges come from the store and are the same in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ml_backend.jobs.store import ConnectedProject, Store

PREFIX = "active_labeler"
# The interesting border is what an annotator's Submit can feel; Label Studio gives up after 1 s.
BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 100.0)
GAUGES = {
    "tasks": "Tasks in the project",
    "labeled": "Tasks with a usable annotation",
    "pool": "Tasks without one",
    "unreadable": "Tasks whose image cannot be used",
    "annotations": "Annotations that are not skips",
    "skips": "Annotations that are skips",
    "waiting": "Events and requests that no finished round has answered",
}


# Of the latest fine-tune, while it is at work.
FINE_TUNE_GAUGES = {
    "epoch": "Epoch that the fine-tune at work is in",
    "epochs": "Epochs that it was asked for",
    "train_loss": "Its training loss",
    "validation_loss": "Its loss on labels that it does not learn from",
    "images_per_s": "Images that it learns from in a second",
    "eta_s": "Seconds that its training still takes",
}


AppraisalOf = Callable[[int], Mapping[str, Any] | None]


def nothing_known(_project_id: int) -> None:
    """Stand in for appraisals where there are none."""


class Metrics:
    """One app's metrics."""

    def __init__(
        self, store: Store, clock: Callable[[], datetime], appraisal: AppraisalOf = nothing_known
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{PREFIX}_http_requests",
            "Answered requests",
            ["route", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}_http_request_seconds",
            "Time until the answer was ready",
            ["route"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._events = Counter(
            f"{PREFIX}_events", "Webhook events stored", ["action"], registry=self._registry
        )
        self._registry.register(StoreCollector(store, clock, appraisal))

    def count_request(self, route: str, code: int, seconds: float) -> None:
        """Note one answered request; `route` is the rule that matched and not the path."""
        self._requests.labels(route, str(code)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_event(self, action: str) -> None:
        """Note one stored event."""
        self._events.labels(action).inc()

    def exposition(self) -> bytes:
        """Render everything in Prometheus' text format."""
        return generate_latest(self._registry)


class StoreCollector(Collector):
    """Reads the store whenever Prometheus asks."""

    def __init__(self, store: Store, clock: Callable[[], datetime], appraisal: AppraisalOf) -> None:
        self._appraisal = appraisal
        self._store = store
        self._clock = clock

    def describe(self) -> Iterator[Any]:
        """Promise nothing, so that registering reads nothing."""
        return iter(())

    def collect(self) -> Iterator[Any]:
        """Yield one family after the other."""
        projects = self._store.projects()
        yield from self._project_gauges(projects)
        yield from self._rounds(projects)
        yield from self._fine_tunes(projects)
        yield self._holdout(projects)
        yield from self._appraisals(projects)
        yield self._heartbeat_age()

    def _project_gauges(self, projects: list[ConnectedProject]) -> Iterator[Any]:
        counts = {str(each.project_id): self._store.counts(each.project_id) for each in projects}
        for name, meaning in GAUGES.items():
            family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=["project"])
            for project, count in counts.items():
                family.add_metric([project], getattr(count, name))
            yield family

    def _rounds(self, projects: list[ConnectedProject]) -> Iterator[Any]:
        finished = CounterMetricFamily(
            f"{PREFIX}_rounds", "Rounds by how they ended", labels=["project", "state"]
        )
        seconds = GaugeMetricFamily(
            f"{PREFIX}_last_round_seconds",
            "Time that each step of the latest round took",
            labels=["project", "step"],
        )
        for project in projects:
            label = str(project.project_id)
            for state, number in self._store.round_states(project.project_id).items():
                finished.add_metric([label, state], number)
            for step, took_s in self._timings(project.project_id).items():
                seconds.add_metric([label, step], took_s)
        yield finished
        yield seconds

    def _fine_tunes(self, projects: list[ConnectedProject]) -> Iterator[GaugeMetricFamily]:
        at_work = {}
        for project in projects:
            latest = self._store.fine_tunes(project.project_id, limit=1)
            if latest and latest[0].is_open:
                at_work[str(project.project_id)] = latest[0]
        working = GaugeMetricFamily(
            f"{PREFIX}_fine_tune_at_work", "1 in the state of each", labels=["project", "state"]
        )
        for label, record in at_work.items():
            working.add_metric([label, record.state], 1)
        yield working
        for name, meaning in FINE_TUNE_GAUGES.items():
            family = GaugeMetricFamily(f"{PREFIX}_fine_tune_{name}", meaning, labels=["project"])
            for label, record in at_work.items():
                if name in record.progress:
                    family.add_metric([label], float(record.progress[name]))
            yield family

    def _holdout(self, projects: list[ConnectedProject]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            f"{PREFIX}_holdout_accuracy",
            "Of the latest round's head, on labels that nothing was trained on, with 95 % bounds",
            labels=["project", "bound"],
        )
        for project in projects:
            latest = self._store.rounds(project.project_id, limit=1)
            report = latest[0].report if latest else {}
            if "holdout_accuracy" in report:
                bounds = (report["holdout_accuracy"], *report["holdout_interval"])
                for bound, value in zip(("value", "low", "high"), bounds, strict=True):
                    family.add_metric([str(project.project_id), bound], float(value))
        return family

    def _appraisals(self, projects: list[ConnectedProject]) -> Iterator[GaugeMetricFamily]:
        saved = GaugeMetricFamily(
            f"{PREFIX}_labels_saved",
            "Labels that the queue saved, where it is measured, with 95 % bounds",
            labels=["project", "bound"],
        )
        age = GaugeMetricFamily(
            f"{PREFIX}_appraisal_age_seconds", "Since the last appraisal", labels=["project"]
        )
        for project in projects:
            label, found = str(project.project_id), self._appraisal(project.project_id)
            if found is None:
                continue
            made_at = datetime.fromisoformat(found["made_at"])
            age.add_metric([label], (self._clock() - made_at).total_seconds())
            for bound in ("value", "low", "high"):
                if (number := found["labels_saved"][bound]) is not None:
                    saved.add_metric([label, bound], float(number))
        yield saved
        yield age

    def _timings(self, project_id: int) -> dict[str, float]:
        latest = self._store.rounds(project_id, limit=1)
        timings = latest[0].report.get("timings_s", {}) if latest else {}
        return {str(step): float(took_s) for step, took_s in timings.items()}

    def _heartbeat_age(self) -> GaugeMetricFamily:
        age = GaugeMetricFamily(
            f"{PREFIX}_trainer_heartbeat_age_seconds", "Since the latest sign of life of a trainer"
        )
        for beat in self._store.heartbeats()[:1]:
            age.add_metric([], (self._clock() - beat.seen_at).total_seconds())
        return age
