"""The model in the shape that Label Studio's backends have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend import model
from ml_backend.jobs.store import Store
from ml_backend.model import ActiveLabelerModel
from tests.loop import Loop, truth


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    """A project with a model, in the MODEL_DIR that the environment names."""
    (tmp_path / "projects" / "1").mkdir(parents=True)
    made = Loop(tmp_path)
    made.server.add_tasks(12)
    made.ask()
    made.run()
    for task_id in made.server.served_order(4):
        made.label(task_id)
    made.run()
    (tmp_path / "rounds").rename(tmp_path / "projects" / "1" / "rounds")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://fake")
    monkeypatch.delenv("ACTIVE_LABELER_DATABASE_URL", raising=False)
    return made


def test_predict_answers_from_the_last_round(loop: Loop) -> None:
    asked = loop.server.served_order(2)
    tasks = [{"id": task_id, "data": {"image": "x"}} for task_id in asked]
    answers = ActiveLabelerModel(project_id="1.1700000000").predict(tasks)
    shown = [answer["result"][0]["value"]["choices"][0] for answer in answers]
    assert shown == [truth(task_id) for task_id in asked]


def test_fit_hands_the_event_over_and_trains_nothing(loop: Loop) -> None:
    rounds = len(loop.store.rounds(1))
    payload = {"annotation": {"id": 5, "task": 2}, "task": {"id": 2}, "project": {"id": 1}}
    ActiveLabelerModel(project_id="1").fit("ANNOTATION_CREATED", payload)
    claim = Store.open(f"sqlite:///{loop.folder / 'state.sqlite3'}").claim("t", 30, loop.now())
    assert [event.task_ids for event in claim.events] == [(2,)]
    assert len(loop.store.rounds(1)) == rounds


def test_an_event_of_a_later_label_studio_is_no_reason_for_a_round(loop: Loop) -> None:
    ActiveLabelerModel(project_id="1").fit("SOMETHING_NEW", {"project": {"id": 1}})
    assert not loop.store.is_dirty(1)


def test_it_has_the_interface_of_label_studios_backends() -> None:
    made = ActiveLabelerModel("7", "<View/>")
    assert (made.project_id, made.label_config) == ("7", "<View/>")
    assert model._Base in ActiveLabelerModel.__mro__
