"""A network learns while people annotate: promoted, killed, rolled back, damaged. All of it real.

The tests share one project and run in this order; each leaves it settled, and right.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ml_backend.jobs.store import FineTuneRecord
from scripts.label_studio_content import create_project, signed_in, upload_images
from scripts.local_label_studio import free_port
from tests.e2e.stack import ANNOTATORS, WINDOW, Stack, wait_until
from tests.e2e.truths import Truth, find_everything_right, look, settle
from tests.label_studio_server import PASSWORD
from tests.tuning_loop import random_squeezenet, stripes

# The first test's time has the stack's start in it.
pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(900)]

DIRECTIONS = ("lying", "standing", "slanted")
TASKS, LABELED = 260, 130
RECIPE = {
    "epochs": 20,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "layer_decay": 1.0,
    "ema_decay": 0.0,
    "augment": "none",
    "patience": 0,
}
LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="digit" toName="image">'
    + "".join(f'<Choice value="{direction}"/>' for direction in DIRECTIONS)
    + "</Choices></View>"
)
FINE_TUNE_TIMEOUT_S = 400.0  # half a minute where nothing else runs


@pytest.fixture(scope="module")
def models(bare_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project of stripes with a backend of its own, whose network knows nothing yet."""
    folder = tmp_path_factory.mktemp("models")
    http = bare_stack.http
    project_id = create_project(http, "Stripes", LABEL_CONFIG)
    upload_images(http, project_id, _pictures(folder / "pictures"))
    environment = {
        **bare_stack.environment,
        "MODEL_DIR": str(folder / "model-dir"),
        "PORT": str(free_port()),
        "ACTIVE_LABELER_BACKBONE": "squeezenet1_1",
        "ACTIVE_LABELER_WEIGHTS": str(_weights(folder)),
        "ACTIVE_LABELER_INPUT_SIZE_PX": "32",
        "ACTIVE_LABELER_INPUT_RESIZE_PX": "32",
        "ACTIVE_LABELER_AUDIT_SHARE": "0.33",
        "ACTIVE_LABELER_FINE_TUNE": "ask",
        "ACTIVE_LABELER_FINE_TUNE_RECIPE": json.dumps(RECIPE),
    }
    stack = Stack(
        folder, bare_stack.label_studio, http, project_id, _truth(http, project_id), environment
    )
    stack.start_serving()
    stack.train.start()
    try:
        stack.about("connect", "--backend-url", stack.backend_url)
        yield stack
    finally:
        stack.train.kill()
        stack.serve.stop()


def _pictures(folder: Path) -> list[Path]:
    folder.mkdir()
    files = []
    for number in range(1, TASKS + 1):
        file = folder / f"{DIRECTIONS[number % 3]}-{number:04d}.png"
        file.write_bytes(stripes(number))
        files.append(file)
    return files


def _weights(folder: Path) -> Path:
    import safetensors.torch

    file = folder / "random.safetensors"
    state = random_squeezenet().network.state_dict()
    safetensors.torch.save_file({name: t.contiguous() for name, t in state.items()}, file)
    return file


def _truth(http: Any, project_id: int) -> dict[int, str]:
    answer = http.get(
        "/api/tasks",
        params={
            "project": project_id,
            "fields": "task_only",
            "include": "id,data",
            "page_size": 400,
            "resolve_uri": "false",
        },
    )
    words = {t["id"]: Path(t["data"]["image"]).stem.split("-") for t in answer.json()["tasks"]}
    return {task_id: next(w for w in found if w in DIRECTIONS) for task_id, found in words.items()}


@dataclass
class Watch:
    """What an annotator, and somebody who looks on, saw while something happened."""

    served: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)  # served, and in no published window
    versions: set[str] = field(default_factory=set)
    empty: int = 0
    looks: int = 0


@contextmanager
def annotating(stack: Stack) -> Iterator[Watch]:
    """Annotate one task after the other, as an annotator's browser does, until the block ends."""
    watch, over = Watch(), threading.Event()

    def work() -> None:
        with signed_in(stack.label_studio.url, ANNOTATORS[0], PASSWORD) as client:
            while not over.is_set():
                _annotate_next(stack, client, watch)
                _look_on(stack, watch)
                time.sleep(0.5)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield watch
        finally:
            over.set()
            working.result()


def _annotate_next(stack: Stack, client: Any, watch: Watch) -> None:
    headers = {
        "X-CSRFToken": client.cookies.get("csrftoken", ""),
        "Referer": stack.label_studio.url,
    }
    answer = client.post(
        f"/api/dm/actions/?id=next_task&project={stack.project_id}", json={}, headers=headers
    )
    assert answer.status_code == 200, answer.text[:300]
    task_id = int(answer.json()["id"])
    watch.served.append(task_id)
    if task_id not in _windows(stack):
        watch.outside.append(task_id)
    region = {
        "from_name": "digit",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [stack.truth[task_id]]},
    }
    saved = client.post(
        f"/api/tasks/{task_id}/annotations/", json={"result": [region]}, headers=headers
    )
    assert saved.status_code == 201, saved.text[:300]


def _windows(stack: Stack) -> set[int]:
    """The tasks of all orders that were ever in force."""
    with stack.store() as store:
        records = store.versions(stack.project_id)
        return {t for record in records for t in store.window(stack.project_id, record.version)}


def _look_on(stack: Stack, watch: Watch) -> None:
    truth = look(stack)
    watch.looks += 1
    watch.versions.add(truth.version)
    watch.empty += not truth.served()
    assert truth.project["sampling"] == "Uncertainty sampling"


def _published_since(stack: Stack, record: FineTuneRecord) -> bool:
    with stack.store() as store:
        rounds = store.rounds(stack.project_id)
    return any(r.state == "published" and r.started_at > record.finished_at for r in rounds)


def fine_tune(stack: Stack) -> FineTuneRecord:
    """Ask for a fine-tune by the command and wait for its end."""
    stack.about("fine-tune", "--no-wait")
    wait_until(lambda: not latest(stack).is_open, "the fine-tune ended", FINE_TUNE_TIMEOUT_S)
    return latest(stack)


def latest(stack: Stack) -> FineTuneRecord:
    with stack.store() as store:
        return store.fine_tunes(stack.project_id, limit=1)[0]


def model_of(stack: Stack) -> str | None:
    with stack.store() as store:
        project = store.get_project(stack.project_id)
    assert project is not None
    return project.model


def settled(stack: Stack) -> Truth:
    return find_everything_right(stack)


def prelabels_right(truth: Truth, stack: Stack) -> float:
    """The share of prelabels in the window that are right."""
    shown = {t: p["result"] for t, p in truth.predictions().items() if p["result"]}
    right = [r[0]["value"]["choices"][0] == stack.truth[t] for t, r in shown.items()]
    return sum(right) / len(right)


def test_a_model_is_promoted_while_somebody_annotates_and_the_queue_never_falters(
    models: Stack,
) -> None:
    for task_id in sorted(models.truth)[:LABELED]:
        models.annotate(task_id)
    before = settled(models)
    with annotating(models) as watch:
        record = fine_tune(models)
        assert record.state == "promoted", (record, models.train.log()[-3000:])
        wait_until(lambda: _published_since(models, record), "it ordered the queue")
        time.sleep(2)
    after = settled(models)
    assert watch.looks >= 3
    assert watch.empty == 0
    assert watch.outside == [], "a task was served that no published order held"
    assert len(set(watch.served)) == len(watch.served)
    assert model_of(models) == record.outcome["model"]
    assert prelabels_right(after, models) > prelabels_right(before, models)
    assert len(after.served()) >= min(WINDOW // 2, len(after.tasks) - len(after.labeled))


def test_status_and_the_list_tell_which_model_orders_the_queue(models: Stack) -> None:
    shown = models.about("status")["projects"][0]
    rows = {row["model"]: row for row in _models(models, "list")}
    champion = rows[shown["model"]]
    assert champion["state"] == "champion"
    assert champion["accuracy"]["value"] > 0.7
    assert shown["fine_tune"]["state"] == "promoted"
    assert rows["pretrained"]["state"] == ""


def test_rolling_back_restores_the_order_of_the_model_before(models: Stack) -> None:
    promoted = str(model_of(models))

    def ordered_by_the_backbone() -> list[int]:
        _models(models, "rollback")
        assert model_of(models) is None
        return settled(models).served()

    def ordered_by_the_promoted() -> list[int]:
        _models(models, "promote", promoted)
        assert model_of(models) == promoted
        return settled(models).served()

    # Each time from the same labels. While somebody annotates, a head starts from the one before.
    before, learned = ordered_by_the_backbone(), ordered_by_the_promoted()
    assert before != learned
    assert ordered_by_the_backbone() == before
    assert ordered_by_the_promoted() == learned


def test_the_button_in_label_studio_starts_a_fine_tune_which_can_be_cancelled(
    models: Stack,
) -> None:
    [backend] = models.get("/api/ml", project=models.project_id)
    models.post(f"/api/ml/{backend['id']}/train", {})
    wait_until(
        lambda: latest(models).reason == "Start Training in Label Studio", "the button was heard"
    )
    models.about("fine-tune", "--cancel", code=0)
    wait_until(lambda: not latest(models).is_open, "it was cancelled")
    assert latest(models).state == "cancelled"
    settled(models)


def test_the_model_is_exported_as_one_file_that_agrees_with_it(models: Stack) -> None:
    told = _models(models, "export", "--to", str(models.folder / "stripes.pt"))
    assert Path(told["file"]).stat().st_size > 1_000_000
    assert told["max_difference"] < 1e-4
    assert told["n_pictures"] > 0


def test_several_processes_train_one_model_together(models: Stack) -> None:
    recipe = json.dumps({**RECIPE, "epochs": 2})
    words = ["fine-tune", "--project", str(models.project_id), "--here", "--json"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ended = subprocess.run(
        [*launcher, "--nproc-per-node", "2", "-m", "scripts.active_labeler", *words],
        env={
            **models.environment,
            "ACTIVE_LABELER_FINE_TUNE_RECIPE": recipe,
            "OMP_NUM_THREADS": "1",
        },
        cwd=models.folder,
        capture_output=True,
        text=True,
        timeout=FINE_TUNE_TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    record = latest(models)
    assert record.state in ("promoted", "refused")
    card = _models(models, "show", str(record.outcome["model"]))
    assert card["hardware"]["processes"] == 2
    settled(models)


def test_a_killed_fine_tune_goes_on_and_ends(models: Stack) -> None:
    models.about("fine-tune", "--no-wait")
    wait_until(lambda: latest(models).progress.get("epoch", 0) >= 3, "it trained for a while")
    os.kill(_worker(models), signal.SIGKILL)
    wait_until(lambda: not latest(models).is_open, "another ended it", FINE_TUNE_TIMEOUT_S)
    record = latest(models)
    assert record.state in ("promoted", "refused"), record
    assert record.attempts == 2
    assert "goes on after epoch" in models.train.log()
    settled(models)


def test_a_damaged_model_is_refused_and_the_one_before_serves(models: Stack) -> None:
    champion = str(model_of(models))
    models.train.stop()
    folder = models.model_dir / "projects" / str(models.project_id) / "models" / champion
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    models.train.start()
    models.annotate(look(models).served()[0])
    truth = settle(models)
    assert model_of(models) != champion
    assert len(truth.served()) >= 1
    states = {row["model"]: row["state"] for row in _models(models, "list")}
    assert states[champion] == "damaged"
    found = {each["check"]: each["state"] for each in models.about("doctor")}
    assert found["model"] == "warning"


def _models(stack: Stack, verb: str, *arguments: str) -> Any:
    answer = stack.command("models", verb, "--project", str(stack.project_id), "--json", *arguments)
    assert answer.code == 0, answer.out + answer.err
    return answer.json


def _worker(stack: Stack) -> int:
    """The process that trains, by its lease."""
    owner = latest(stack).owner
    assert owner is not None
    return int(owner.split(":")[1])
