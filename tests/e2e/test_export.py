"""Labels leave as files and come back: into Label Studio itself, and as it tells them too.

A project of its own on the shared server, without a trainer: `sync` runs the rounds.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ml_backend.exporting.checking import check
from ml_backend.exporting.tables import read_table
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.labeling_config import hash_of, parse_control
from ml_backend.labelstudio.projects import ProjectReader
from scripts.label_studio_content import import_tasks
from tests.e2e.processes import Answer, base_environment, run_command
from tests.e2e.stack import DIGITS, LABEL_CONFIG, _truth, digit_images
from tests.label_studio_server import TestServer
from tests.unit.exporting.builders import below

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(600)]

TASKS, LABELED = 40, 24


@dataclass(frozen=True)
class Labeling:
    """A project in which people labeled some tasks, and the environment of its commands."""

    server: TestServer
    project_id: int
    task_ids: list[int]
    environment: dict[str, str]
    folder: Path

    def command(self, verb: str, *arguments: str) -> Answer:
        named = (verb, "--project", str(self.project_id), *arguments)
        return run_command(named, self.environment, self.folder)

    def about(self, verb: str, *arguments: str) -> Any:
        answer = self.command(verb, "--json", *arguments)
        assert answer.code == 0, answer.out + answer.err
        return answer.json


def connect(server: TestServer, project_id: int, url: str) -> None:
    """Note the project as connected; nothing listens for webhooks here."""
    client = LabelStudioClient(server.url, server.personal_access_token, 30.0)
    with closing(Store.open(url)) as store:
        store.save_project(
            ConnectedProject(
                project_id=project_id,
                label_studio_url=server.url,
                title="digits",
                control=parse_control(LABEL_CONFIG),
                label_config_hash=hash_of(LABEL_CONFIG),
                webhook_id=None,
                backend_id=None,
                backend_url="http://127.0.0.1:9",
                secret_sha256="0" * 64,
                found=ProjectReader(client, project_id).facts().settings,
                connected_at=datetime.now(UTC),
                audit_share=0.2,
            )
        )


@pytest.fixture(scope="module")
def labeling(label_studio: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Labeling:
    """Forty digits, twenty-four of them labeled, one skipped, one that two people disagree on."""
    folder = tmp_path_factory.mktemp("export")
    project_id = label_studio.project("digits", LABEL_CONFIG)
    task_ids = label_studio.uploaded(project_id, digit_images(folder / "digits")[:TASKS])
    (folder / "model-dir").mkdir()
    connect(label_studio, project_id, f"sqlite:///{folder / 'model-dir' / 'state.sqlite3'}")
    truth = _truth(label_studio.http, project_id)
    for task_id in task_ids[:LABELED]:
        label_studio.annotate(task_id, truth[task_id], control="digit")
    label_studio.annotate(task_ids[LABELED], None, skip=True)
    for answer in ("3", "8"):
        label_studio.annotate(task_ids[LABELED + 1], answer, control="digit")
    environment = base_environment(
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.personal_access_token,
        MODEL_DIR=folder / "model-dir",
        ACTIVE_LABELER_DEVICE="cpu",
        ACTIVE_LABELER_BACKBONE="scratch",
        OMP_NUM_THREADS=1,
    )
    made = Labeling(label_studio, project_id, task_ids, environment, folder)
    made.about("sync")
    return made


@pytest.fixture(scope="module")
def exported(labeling: Labeling) -> tuple[Path, Any]:
    """The folder of an export in every format, and what the command said."""
    forms = ("csv", "folders", "label-studio", "coco", "huggingface")
    flags = [flag for form in forms for flag in ("--format", form)]
    target = labeling.folder / "out"
    return target, labeling.about("export", "--to", str(target), "--threshold", "0.5", *flags)


def their_labels(labeling: Labeling) -> dict[int, list[str]]:
    """Every task's labels, in Label Studio's own export."""
    answer = labeling.server.http.get(
        f"/api/projects/{labeling.project_id}/export", params={"exportType": "JSON"}
    )
    answer.raise_for_status()
    return {
        task["id"]: [
            annotation["result"][0]["value"]["choices"][0]
            for annotation in task["annotations"]
            if annotation["result"] and not annotation["was_cancelled"]
        ]
        for task in answer.json()
    }


def test_peoples_labels_are_what_label_studio_exports_itself(
    labeling: Labeling, exported: tuple[Path, Any]
) -> None:
    target, answer = exported
    ours = {
        int(row["task_id"]): row["label"] for row in read_table(target / "human" / "labels.csv")
    }
    theirs = their_labels(labeling)
    assert ours == {task_id: given[0] for task_id, given in theirs.items() if len(given) == 1}
    assert len(ours) == answer["counts"]["human"] == LABELED
    reasons = {int(row["task_id"]): row["reason"] for row in read_table(target / "left_out.csv")}
    assert reasons == {
        labeling.task_ids[LABELED]: "everybody who looked at it skipped it",
        labeling.task_ids[LABELED + 1]: "people disagree: 3 (1), 8 (1)",
    }


def test_the_model_answers_for_every_other_task_and_its_images_are_the_uploaded_ones(
    labeling: Labeling, exported: tuple[Path, Any]
) -> None:
    target, answer = exported
    rows = read_table(target / "model" / "labels.csv")
    assert [int(row["task_id"]) for row in rows] == labeling.task_ids[LABELED + 2 :]
    assert {row["label"] for row in rows} <= set(DIGITS)
    uploaded = {
        sha256(path.read_bytes()).hexdigest()
        for path in (labeling.folder / "digits").rglob("*.png")
    }
    images = {name: data for name, data in below(target).items() if name.endswith(".png")}
    assert {sha256(data).hexdigest() for data in images.values()} <= uploaded
    counts = answer["counts"]
    assert min(counts["model_above"], counts["model_below"]) > 0
    assert counts["images"] == LABELED + counts["model_above"]
    assert counts["images_missing"] == 0
    assert answer["trust"]["n"] > 0
    assert check(target) == counts


def test_what_was_exported_can_be_imported_into_a_fresh_project(
    labeling: Labeling, exported: tuple[Path, Any]
) -> None:
    target, _answer = exported
    tasks = json.loads((target / "label_studio.json").read_text())
    fresh = labeling.server.project("imported", LABEL_CONFIG)
    import_tasks(labeling.server.http, fresh, tasks)
    answer = labeling.server.http.get(
        "/api/tasks", params={"project": fresh, "fields": "all", "page_size": 200}
    )
    found = {task["data"]["image"].split("/")[-1]: task for task in answer.json()["tasks"]}
    assert len(found) == len(tasks)
    for side, kind, other in (
        ("human", "annotations", "predictions"),
        ("model", "predictions", "annotations"),
    ):
        for row in read_table(target / side / "labels.csv"):
            task = found[row["image_uri"].split("/")[-1]]
            [each] = task[kind]
            assert each["result"][0]["value"]["choices"] == [row["label"]]
            assert not task[other]
            assert side == "human" or each["score"] == pytest.approx(float(row["confidence"]))


def test_a_second_export_needs_force_and_keeps_what_is_not_its_own(
    labeling: Labeling, exported: tuple[Path, Any]
) -> None:
    target, _answer = exported
    (target / "notes.txt").write_text("mine")
    refused = labeling.command("export", "--to", str(target))
    assert refused.code == 2
    assert "not empty" in refused.err
    again = labeling.command("export", "--to", str(target), "--human-only", "--force")
    assert again.code == 0, again.err
    assert "by people" in again.out
    assert str(LABELED) in again.out
    assert (target / "notes.txt").read_text() == "mine"
    assert not (target / "model").exists()
    token = labeling.server.personal_access_token
    assert token not in again.out + again.err + "".join(
        data.decode("utf-8", "ignore") for data in below(target).values()
    )


def test_links_are_refused_for_uploads(labeling: Labeling) -> None:
    refused = labeling.command(
        "export", "--to", str(labeling.folder / "links"), "--format", "folders", "--links"
    )
    assert refused.code == 2
    assert "--copies fetches them" in " ".join(refused.err.split())
