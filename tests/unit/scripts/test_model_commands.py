"""fine-tune and models on the command line: what they say, refuse and write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ml_backend.jobs.store import Store
from ml_backend.settings import load_settings
from ml_backend.wiring.backbone_shelf import registry_of
from scripts.active_labeler import cli
from tests.unit.jobs.builders import NOW, project
from tests.unit.wiring.test_model_desk import save

METRICS = {"accuracy": {"value": 0.9, "low": 0.82, "high": 0.95}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    settings = load_settings(model_dir=tmp_path)
    with closing(Store.open(settings.sqlalchemy_url)) as opened:
        opened.save_project(project(7))
        yield opened


@pytest.fixture
def models(tmp_path: Path, store: Store) -> list[str]:
    """A champion and a refused challenger."""
    registry = registry_of(load_settings(model_dir=tmp_path), 7)
    names = [save(registry, 1, holdout_metrics=METRICS, n_trained=120), save(registry, 2)]
    store.switch_model(7, names[0], "better", NOW)
    store.note_model(7, names[1], "refused", "it does worse", NOW)
    return names


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--model-dir", str(folder), *words])


def answer(folder: Path, *words: str) -> Any:
    result = run(folder, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_list_is_for_people_and_for_programs(tmp_path: Path, models: list[str]) -> None:
    shown = run(tmp_path, "models", "list", "--project", "7").output
    for expected in (models[0], "champion", "120", "90.0%", "refused", "it does worse"):
        assert expected in shown
    rows = answer(tmp_path, "models", "list", "--project", "7")
    assert [row["state"] for row in rows] == ["", "champion", "refused"]


def test_a_card_is_shown(tmp_path: Path, models: list[str]) -> None:
    shown = run(tmp_path, "models", "show", "--project", "7", "1").output
    assert "holdout metrics accuracy value" in shown
    assert answer(tmp_path, "models", "show", "--project", "7", models[0])["n_trained"] == 120


def test_two_cards_are_compared(tmp_path: Path, models: list[str]) -> None:
    shown = run(tmp_path, "models", "compare", "--project", "7", "1", "2").output
    assert all(name in shown.replace("\n", "") for name in models)
    assert answer(tmp_path, "models", "compare", "--project", "7", "1", "2")["names"] == models


def test_an_unknown_model_is_answered_with_those_that_exist(
    tmp_path: Path, models: list[str]
) -> None:
    result = run(tmp_path, "models", "show", "--project", "7", "9")
    assert models[0] in str(result.exception)


def test_asking_without_waiting_leaves_a_fine_tune_for_the_trainer(
    tmp_path: Path, store: Store
) -> None:
    told = answer(tmp_path, "fine-tune", "--project", "7", "--no-wait")
    assert (told["state"], told["reason"]) == ("waiting", "command")
    assert store.fine_tunes(7)[0].state == "waiting"


def test_cancelling_ends_it_with_a_code_of_its_own(tmp_path: Path, store: Store) -> None:
    store.ask_fine_tune(7, "news", NOW)
    told = answer(tmp_path, "fine-tune", "--project", "7", "--cancel")
    assert told["state"] == "cancelled"
    nothing = run(tmp_path, "fine-tune", "--project", "7", "--cancel")
    assert "no fine-tune" in str(nothing.exception)


def test_a_project_must_be_named_and_connected(tmp_path: Path, store: Store) -> None:
    assert "--project" in run(tmp_path, "fine-tune").output
    assert "not connected" in str(run(tmp_path, "fine-tune", "--project", "8").exception)


def test_status_says_how_a_fine_tune_ended(tmp_path: Path, store: Store) -> None:
    asked = store.ask_fine_tune(7, "news", NOW)
    outcome = {"verdict": {"reason": "Refused: it does worse."}}
    store.finish_fine_tune(asked.fine_tune_id, NOW, state="refused", outcome=outcome)
    assert "refused. Refused: it does worse." in run(tmp_path, "status").output
