"""front and suspects on the command line: what they ask for, say and refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ml_backend.appraisal_file import save_appraisal
from ml_backend.jobs.store import Store
from ml_backend.settings import load_settings
from scripts.active_labeler import cli
from tests.unit.jobs.builders import NOW, annotation, project, tasks

APPRAISAL = {
    "accuracy": {"value": 0.9, "low": 0.82, "high": 0.95, "n": 50},
    "labels_saved": {"sentence": "38 labels saved [20, 47]."},
    "suspects": [
        {"task": 3, "label": "cat", "sentence": "The model says [bold]dog[/]."},
        {"task": 5, "label": "dog", "sentence": "The model says cat."},
    ],
    "second_opinions": [{"task": 4, "label": "cat", "sentence": "Nobody is sure."}],
    "map": {"points": [1, 2]},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    settings = load_settings(model_dir=tmp_path)
    with closing(Store.open(settings.sqlalchemy_url)) as opened:
        opened.save_project(project(7))
        opened.upsert_tasks(7, tasks(*range(1, 9)))
        opened.replace_annotations(7, [3, 5], [annotation(31, 3), annotation(51, 5, "dog")])
        yield opened


@pytest.fixture
def appraised(tmp_path: Path, store: Store) -> Path:
    save_appraisal(tmp_path / "projects" / "7", APPRAISAL)
    return tmp_path


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--model-dir", str(folder), *words])


def answer(folder: Path, *words: str) -> Any:
    result = run(folder, *words, "--project", "7", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def at_the_front(store: Store) -> list[tuple[int, str]]:
    return [(record.task_id, record.why) for record in store.fronts(7)]


def test_tasks_are_put_listed_and_taken_back(tmp_path: Path, store: Store) -> None:
    told = answer(tmp_path, "front", "--task", "5", "--task", "2", "--why", "blurred")
    assert [(each["task_id"], each["why"]) for each in told] == [(5, "blurred"), (2, "blurred")]
    shown = run(tmp_path, "front", "--project", "7").output
    assert "blurred" in shown
    answer(tmp_path, "front", "--task", "5", "--clear")
    assert at_the_front(store) == [(2, "blurred")]
    answer(tmp_path, "front", "--clear")
    assert at_the_front(store) == []
    assert "front" in store.claim("a", 10.0, NOW).requested


def test_suspects_are_listed_with_links_and_markup_is_text(appraised: Path) -> None:
    shown = run(appraised, "suspects", "--project", "7").output.replace("\n", "")
    assert "[bold]dog[/]" in shown
    told = answer(appraised, "suspects")
    assert [row["task"] for row in told] == [3, 5]


def test_the_worst_suspects_go_to_the_front(appraised: Path, store: Store) -> None:
    answer(appraised, "suspects", "--to-front", "1")
    assert at_the_front(store) == [(3, "its label looks wrong")]
    assert store.fronts(7)[0].answers == {"31": "cat"}
    answer(appraised, "suspects", "--to-front")
    assert [task_id for task_id, _ in at_the_front(store)] == [3, 5]


def test_second_opinions_are_a_list_of_their_own(appraised: Path, store: Store) -> None:
    answer(appraised, "suspects", "--second-opinions", "--to-front")
    assert at_the_front(store) == [(4, "a second opinion is worth more")]


def test_without_an_appraisal_it_says_what_to_do(tmp_path: Path, store: Store) -> None:
    result = run(tmp_path, "suspects", "--project", "7")
    assert "active-labeler appraise --project 7" in str(result.exception)


def test_status_has_one_line_of_it(appraised: Path) -> None:
    line = "Accuracy 90.0% (82.0% to 95.0%, on 50 held out). 38 labels saved [20, 47]."
    assert line in " ".join(run(appraised, "status").output.split())
    result = run(appraised, "status", "--json")
    (shown,) = json.loads(result.stdout)["projects"]
    assert shown["appraisal"] == APPRAISAL


def test_status_has_what_the_models_page_tells(tmp_path: Path, store: Store) -> None:
    store.ask_job(7, "promote", {"model": "0002-abc"}, NOW)
    store.ask_front(7, [3], "a suspect", NOW)
    store.note_model(7, "0002-abc", "refused", "no better", NOW)
    (shown,) = json.loads(run(tmp_path, "status", "--json").stdout)["projects"]
    assert [(job["kind"], job["state"]) for job in shown["jobs"]] == [("promote", "waiting")]
    assert [(row["task_id"], row["why"]) for row in shown["front"]] == [(3, "a suspect")]
    assert [(row["model"], row["state"]) for row in shown["models"]] == [("0002-abc", "refused")]
    assert [(row["what"], row["name"]) for row in shown["history"]] == [("model", "0002-abc")]


def test_an_example_is_a_task_or_a_file(tmp_path: Path, store: Store) -> None:
    result = run(tmp_path, "similar", "--project", "7", "--to", "no-such-file.png")
    assert "neither a task's number nor a file" in result.output
