"""What must be true once the dust has settled, whatever happened before.

Label Studio is asked as a third party would: by its own list of tasks, with all their annotations
and predictions. None of this project's code reads it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml_backend.connecting import is_ours
from ml_backend.jobs.store import Mirror
from tests.e2e.stack import WINDOW, Stack, wait_until

SETTLE_TIMEOUT_S = 90.0
Label = tuple[int, str | None, bool]  # task, choice, skipped


@dataclass(frozen=True)
class Truth:
    """Label Studio's project at one moment."""

    project: dict[str, Any]
    tasks: dict[int, dict[str, Any]]

    @property
    def version(self) -> str:
        return str(self.project["model_version"])

    @property
    def labels(self) -> dict[int, Label]:
        """Annotation id → what it says."""
        return {
            # A skip keeps what the prelabel said, and means none of it.
            annotation["id"]: (task_id, None, True)
            if annotation["was_cancelled"]
            else (task_id, choice_of(annotation), False)
            for task_id, task in self.tasks.items()
            for annotation in task["annotations"]
        }

    @property
    def labeled(self) -> set[int]:
        return {task_id for task_id, choice, _skipped in self.labels.values() if choice}

    @property
    def skipped(self) -> set[int]:
        return {task_id for task_id, _choice, skipped in self.labels.values() if skipped}

    def predictions(self, version: str | None = None) -> dict[int, dict[str, Any]]:
        """Task id → its prediction of a version (of the served one)."""
        wanted = version or self.version
        found = [
            (task_id, prediction)
            for task_id, task in self.tasks.items()
            for prediction in task["predictions"]
            if prediction["model_version"] == wanted
        ]
        assert len(found) == len(dict(found)), f"{wanted} was written twice for some task"
        return dict(found)

    def versions(self) -> set[str]:
        return {
            prediction["model_version"]
            for task in self.tasks.values()
            for prediction in task["predictions"]
        }

    def served(self) -> list[int]:
        """The unfinished tasks with a place, in the order in which they are served."""
        places = {t: p["score"] for t, p in self.predictions().items() if t not in self.labeled}
        assert len(set(places.values())) == len(places), "two tasks share a place"
        return sorted(places, key=lambda task_id: places[task_id])


def choice_of(answer: dict[str, Any]) -> str | None:
    """The choice of an annotation or a prediction."""
    regions = answer["result"]
    return regions[0]["value"]["choices"][0] if regions else None


def look(stack: Stack) -> Truth:
    """Ask Label Studio for everything there is in the project."""
    project = stack.get(stack.project_path)
    page = stack.get(
        "/api/tasks",
        project=stack.project_id,
        fields="all",
        include="id,is_labeled,annotations,predictions,result,was_cancelled,score,model_version",
        page_size=400,
        resolve_uri="false",
    )
    return Truth(project, {task["id"]: task for task in page["tasks"]})


def mirrored(stack: Stack) -> dict[int, Label]:
    """The labels as our store has them."""
    with stack.store() as store:
        return _labels_of(store.mirror(stack.project_id))


def _labels_of(mirror: Mirror) -> dict[int, Label]:
    return {a.annotation_id: (a.task_id, a.choice, a.was_cancelled) for a in mirror.annotations}


def is_settled(stack: Stack) -> bool:
    """Whether nothing waits, nothing runs, and every task and label has arrived."""
    with stack.store() as store:
        counts = store.counts(stack.project_id)
        rounds = store.rounds(stack.project_id, limit=1)
        mirror = store.mirror(stack.project_id)
    if counts.waiting or counts.lease_owner or rounds[0].state == "running":
        return False
    truth = look(stack)
    return (mirror.task_ids.tolist(), _labels_of(mirror)) == (sorted(truth.tasks), truth.labels)


def settle(stack: Stack) -> Truth:
    """Wait until the dust has settled; return what Label Studio holds then."""
    wait_until(lambda: is_settled(stack), "all labels learned and published", SETTLE_TIMEOUT_S)
    return look(stack)


def find_everything_right(stack: Stack) -> Truth:
    """Wait for the dust to settle, and check what must be true then."""
    settle(stack)
    with stack.store() as store:
        project = store.get_project(stack.project_id)
        states = {record.version: record.state for record in store.versions(stack.project_id)}
        rounds = store.rounds(stack.project_id)
        mirror = store.mirror(stack.project_id)
        assert project is not None
        window = store.window(stack.project_id, str(project.current_version))
    # After the store: superseded versions are cleared away all the time.
    truth = look(stack)
    assert truth.project["sampling"] == "Uncertainty sampling"
    assert truth.version == project.current_version
    assert [v for v, state in states.items() if state == "current"] == [truth.version]
    assert "publishing" not in states.values()
    # What a killed round wrote is known, so that it can be cleared away.
    ours = {version for version in truth.versions() if is_ours(version)}
    assert ours <= {version for version, state in states.items() if state != "deleted"}
    assert all(mirror.content_hashes), "a task was not embedded"
    assert rounds[0].report["labeled"] == len(truth.labeled)
    # The window is whole, and served in the order in which it was published.
    still_there = [task_id for task_id in window if task_id in truth.tasks]
    assert set(truth.predictions()) == set(still_there)
    served = truth.served()
    assert served == [task_id for task_id in window if task_id in set(served)]
    pool = len(truth.tasks) - len(truth.labeled)
    assert len(served) >= min(WINDOW // 2, pool)
    return truth
