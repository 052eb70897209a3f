"""connect, detach and rollback: each safe to do twice, and without a trace."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ml_backend.connecting import Surroundings, connect, detach, is_ours, roll_back, sha256_of
from ml_backend.errors import ConfigurationError, LabelStudioRefused, UnsupportedLabelingConfig
from ml_backend.jobs.store import Store
from ml_backend.labelstudio.connection import Registration
from tests.fake_label_studio import FakeLabelStudio, FakeQueue, Prediction
from tests.loop import Loop

URL = "http://127.0.0.1:9090"


@dataclass
class FakeConnection:
    """Remembers what is registered; refuses while `refusal` is set."""

    hooks: dict[int, str] = field(default_factory=dict)  # webhook id → its secret
    backends: set[int] = field(default_factory=set)
    refusal: Exception | None = None

    def ensure(self, backend_url: str, secret: str) -> Registration:
        if self.refusal:
            raise self.refusal
        self.hooks, self.backends = {5: secret}, {3}
        return Registration(backend_id=3, webhook_id=5)

    def secret_of(self, webhook_id: int) -> str | None:
        return self.hooks.get(webhook_id)

    def remove(self, backend_id: int | None = None, webhook_id: int | None = None) -> None:
        self.hooks.pop(webhook_id, None)
        self.backends.discard(backend_id)


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    server = FakeLabelStudio()
    return Surroundings(
        label_studio_url="http://fake",
        store=Store.open(f"sqlite:///{tmp_path / 'state.sqlite3'}"),
        reader=server,
        queue_of=lambda control: FakeQueue(server, control.classes),
        connection=FakeConnection(),
        now=server.now,
        audit_share=0.0,
        model_of=lambda _version: None,
    )


def test_connect_notes_the_settings_as_found_and_keeps_no_secret(around: Surroundings) -> None:
    project = connect(around, URL, None)
    assert project.found == around.reader.settings
    (secret,) = around.connection.hooks.values()
    assert project.secret_sha256 == sha256_of(secret)
    assert secret not in repr(project)
    assert (project.backend_id, project.webhook_id) == (3, 5)


def test_connecting_again_keeps_the_secret_and_what_was_found(around: Surroundings) -> None:
    first = connect(around, URL, None)
    around.reader.settings = replace(around.reader.settings, sampling="Uncertainty sampling")
    assert connect(around, URL, None) == first


def test_a_webhook_with_a_foreign_secret_gets_a_new_one(around: Surroundings) -> None:
    first = connect(around, URL, None)
    around.connection.hooks[5] = "somebody else's"
    second = connect(around, URL, None)
    assert second.secret_sha256 != first.secret_sha256
    assert second.secret_sha256 == sha256_of(around.connection.hooks[5])


def test_a_refused_connection_can_be_detached(around: Surroundings) -> None:
    around.connection.refusal = LabelStudioRefused("blocked")
    with pytest.raises(LabelStudioRefused):
        connect(around, URL, None)
    project = around.store.get_project(1)
    detach(around, project)
    assert around.store.projects() == []


def test_an_address_that_is_refused_leaves_the_connection_that_works(around: Surroundings) -> None:
    first = connect(around, URL, None)
    hooks = dict(around.connection.hooks)
    around.connection.refusal = ConfigurationError("nobody answers there")
    with pytest.raises(ConfigurationError):
        connect(around, "http://127.0.0.1:1", None)
    assert around.store.get_project(1) == first
    assert around.connection.hooks == hooks


def test_moving_to_another_address_keeps_the_secret(around: Surroundings) -> None:
    first = connect(around, URL, None)
    moved = connect(around, "http://127.0.0.1:9091", None)
    assert moved.backend_url == "http://127.0.0.1:9091"
    assert moved.secret_sha256 == first.secret_sha256


def test_an_unsupported_config_is_refused_before_anything_is_noted(around: Surroundings) -> None:
    around.reader.label_config = '<View><Text name="t" value="$t"/></View>'
    with pytest.raises(UnsupportedLabelingConfig):
        connect(around, URL, None)
    assert around.store.projects() == []
    assert around.connection.hooks == {}


def test_the_same_number_in_another_label_studio_is_refused(around: Surroundings) -> None:
    connect(around, URL, None)
    elsewhere = replace(around, label_studio_url="http://elsewhere")
    with pytest.raises(ConfigurationError, match="MODEL_DIR"):
        connect(elsewhere, URL, None)


def test_detach_leaves_what_it_found_and_other_peoples_predictions(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    tasks = loop.server.add_tasks(12)
    found = loop.server.settings
    theirs = Prediction(tasks[0], "their-model", 0.5, "cat", None)
    loop.server.predictions.append(theirs)
    loop.ask()
    loop.run()
    around = surroundings_of(loop)
    gone = detach(around, loop.store.get_project(loop.project_id))
    assert gone.predictions == 12
    assert loop.server.predictions == [theirs]
    assert loop.server.settings == found
    assert loop.store.projects() == []


def test_detach_closes_tasks_that_were_opened_for_a_second_opinion(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    wanted, withdrawn, *_ = loop.server.add_tasks(12)
    for task_id in (wanted, withdrawn):
        loop.label(task_id)
    loop.ask()
    loop.run()
    loop.store.ask_front(loop.project_id, [wanted, withdrawn], "suspects", loop.now())
    loop.run()
    loop.store.drop_fronts(loop.project_id, [withdrawn])
    assert loop.server.overlaps == {wanted: 2, withdrawn: 2}
    detach(surroundings_of(loop), loop.store.get_project(loop.project_id))
    assert loop.server.overlaps == {wanted: 1, withdrawn: 1}


def surroundings_of(loop: Loop) -> Surroundings:
    return Surroundings(
        label_studio_url="http://fake",
        store=loop.store,
        reader=loop.server,
        queue_of=lambda _control: loop.queue,
        connection=FakeConnection(),
        now=loop.now,
        audit_share=0.25,
        model_of=lambda _version: None,
    )


def test_the_audit_share_is_that_of_the_first_connection(around: Surroundings) -> None:
    first = connect(replace(around, audit_share=0.1), URL, None)
    again = connect(replace(around, audit_share=0.3), URL, None)
    assert (first.audit_share, again.audit_share) == (0.1, 0.1)


def test_rollback_serves_the_version_before_and_holds_it(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(12)
    loop.ask()
    loop.run()
    first = loop.server.settings.model_version
    order = loop.server.served_order(12)
    loop.label(order[0])
    loop.run()
    around = surroundings_of(loop)
    assert roll_back(around, loop.store.get_project(1), None) == first
    assert loop.server.served_order(12) == order[1:]
    project = loop.store.get_project(1)
    assert (project.current_version, project.held) == (first, True)
    assert loop.versions()[first] == "current"


def test_a_version_that_is_not_kept_cannot_be_rolled_back_to(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(3)
    loop.ask()
    loop.run()
    with pytest.raises(ConfigurationError, match="kept are: none"):
        roll_back(surroundings_of(loop), loop.store.get_project(1), "al-000099-dead")


def test_our_versions_are_told_from_others() -> None:
    assert is_ours("al-000001-ab12")
    assert not is_ours("yolo-v8")
