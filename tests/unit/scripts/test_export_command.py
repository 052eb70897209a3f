"""export on the command line: what it writes, says and refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ml_backend.exporting.tables import read_table
from ml_backend.jobs.store import ConnectedProject, Store
from ml_backend.learning.checkpoints import RoundResults, save_results
from ml_backend.learning.embedding_cache import EmbeddingCache
from ml_backend.learning.head import fit_head
from ml_backend.records import Annotation, Task
from ml_backend.settings import Settings, load_settings
from ml_backend.steps.holdout import Holdout
from ml_backend.wiring import results_folder
from ml_backend.wiring.export_desk import model_in_force
from scripts.active_labeler import cli
from tests.unit.jobs.builders import NOW, project

PROJECT, TASKS, LABELED = 7, 30, 20


def content_hash(task_id: int) -> str:
    return hashlib.sha256(str(task_id).encode()).hexdigest()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "files").mkdir()
    return load_settings(model_dir=tmp_path / "state")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Thirty tasks on files of this machine, twenty of them labeled."""
    settings.model_dir.mkdir()
    files = settings.model_dir.parent / "files"
    with closing(Store.open(settings.sqlalchemy_url)) as opened:
        opened.save_project(project(PROJECT))
        tasks = [Task(n, f"/data/local-files/?d={n}.png") for n in range(1, TASKS + 1)]
        opened.upsert_tasks(PROJECT, tasks)
        opened.set_content_hashes(
            PROJECT, {task.task_id: content_hash(task.task_id) for task in tasks}
        )
        for task in tasks:
            (files / f"{task.task_id}.png").write_text(str(task.task_id))
        labels = [Annotation(n, n, 1, ("cat", "dog")[n % 2]) for n in range(1, LABELED + 1)]
        opened.replace_annotations(PROJECT, range(1, LABELED + 1), labels)
        yield opened


def put_model_in_force(settings: Settings, store: Store, version: str) -> RoundResults:
    """Save a round whose head tells odd tasks from even ones."""
    vectors_ND = np.array([[n % 2, 1.0] for n in range(1, TASKS + 1)], dtype=np.float32)
    vectors_ND += np.random.default_rng(0).normal(0, 0.1, vectors_ND.shape).astype(np.float32)
    cache = EmbeddingCache(settings.model_dir / "embeddings", "key", 2)
    cache.append([content_hash(n) for n in range(1, TASKS + 1)], vectors_ND)
    found = store.get_project(PROJECT)
    assert found is not None
    classes = found.control.classes
    holdout = Holdout(found.audit_share, PROJECT)
    ids_M = np.array([n for n in range(1, LABELED + 1) if not holdout.has(content_hash(n))])
    rows_M = np.array([classes.index(("cat", "dog")[n % 2]) for n in ids_M])
    head = fit_head(vectors_ND[ids_M - 1], rows_M, len(classes))
    assert head is not None
    rest = slice(LABELED, TASKS)
    results = RoundResults(
        model_version=version,
        classes=classes,
        backbone_key="key",
        task_ids_N=np.arange(LABELED + 1, TASKS + 1),
        probs_NC=head.probs(vectors_ND[rest]),
        order_N=np.arange(TASKS - LABELED),
        uncertainty_N=None,
        reasons=(),
        head=head,
        labeled_ids_M=ids_M,
        labels_M=rows_M,
        details={"dim": 2, "model": None},
    )
    save_results(results_folder(settings, PROJECT), results)
    store.update_project(PROJECT, current_version=version)
    return results


def run(settings: Settings, *words: str) -> Result:
    arguments = ["--model-dir", str(settings.model_dir), *words]
    return CliRunner().invoke(cli, arguments)


def export(settings: Settings, *words: str) -> Result:
    target = settings.model_dir.parent / "out"
    return run(settings, "export", "--project", str(PROJECT), "--to", str(target), *words)


def test_people_and_model_are_counted_apart_on_the_terminal(
    settings: Settings, store: Store
) -> None:
    put_model_in_force(settings, store, "al-1")
    result = export(settings, "--threshold", "0.5")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["by", "people", "20"] in lines
    assert ["by", "the", "model,", "at", "or", "above", "0.5", "10"] in lines
    assert ["by", "the", "model,", "below", "0.5", "0"] in lines
    assert "There is no holdout label" in result.stdout
    assert "every format read back and agrees" in result.stdout.replace("\n", " ")


def test_json_has_the_counts_and_what_they_are_worth(settings: Settings, store: Store) -> None:
    store.update_project(PROJECT, audit_share=0.5)
    put_model_in_force(settings, store, "al-1")
    answer = json.loads(export(settings, "--json", "--format", "coco").stdout)
    assert answer["formats"] == ["csv", "coco"]
    assert answer["counts"]["human"] == LABELED
    assert answer["model_version"] == "al-1"
    assert answer["trust"]["accuracy"]["value"] == 1.0
    assert 0 < answer["trust"]["n"] < LABELED
    assert f"On {answer['trust']['n']} holdout labels" in answer["trust_in_words"]


def test_labels_of_people_need_no_model_and_no_label_studio(
    settings: Settings, store: Store
) -> None:
    result = export(settings)
    assert result.exit_code == 0, result.output
    out = settings.model_dir.parent / "out"
    rows = read_table(out / "human" / "labels.csv")
    assert [(row["task_id"], row["label"]) for row in rows[:2]] == [("1", "dog"), ("2", "cat")]
    assert len(read_table(out / "left_out.csv")) == TASKS - LABELED


def test_files_of_this_machine_are_linked_where_the_setting_names_their_folder(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = settings.model_dir.parent / "files"
    refused = export(settings, "--format", "folders", "--links")
    assert "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT" in str(refused.exception)
    monkeypatch.setenv("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", str(files))
    result = export(settings, "--format", "folders", "--links")
    assert result.exit_code == 0, result.output
    linked = settings.model_dir.parent / "out" / "human" / "dog" / "1-1.png"
    assert linked.readlink() == files / "1.png"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--threshold", "1.5"), "0<=x<=1"),
        (("--format", "yolo"), "yolo"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    settings: Settings, store: Store, words: tuple[str, ...], said: str
) -> None:
    result = export(settings, *words)
    assert result.exit_code == 2
    assert said in result.output


def test_the_project_must_be_connected(settings: Settings, store: Store) -> None:
    result = run(settings, "export", "--project", "8", "--to", "x")
    assert "not connected" in str(result.exception)


def test_news_that_no_round_has_seen_are_pointed_out(settings: Settings, store: Store) -> None:
    store.mark_dirty(PROJECT, "sync", NOW)
    assert "1 events wait" in export(settings).stdout


def in_force(store: Store) -> ConnectedProject:
    found = store.get_project(PROJECT)
    assert found is not None
    return found


def test_the_last_rounds_model_answers_but_while_a_rollback_holds_the_order_before(
    settings: Settings, store: Store
) -> None:
    for version in ("al-1", "al-2"):
        put_model_in_force(settings, store, version)
    newest = model_in_force(settings, in_force(store))
    assert newest is not None
    assert newest.results.model_version == "al-2"
    held = model_in_force(settings, replace(in_force(store), current_version="al-1", held=True))
    assert held is not None
    assert held.results.model_version == "al-1"


def test_the_card_of_a_model_that_is_gone_says_so(settings: Settings, store: Store) -> None:
    results = put_model_in_force(settings, store, "al-1")
    details = {**results.details, "model": "0004-gone"}
    save_results(results_folder(settings, PROJECT), replace(results, details=details))
    model = model_in_force(settings, in_force(store))
    assert model is not None
    assert model.card is not None
    assert (model.card["name"], "0004-gone" in model.card["unreadable"]) == ("0004-gone", True)
