"""Each route answers what Label Studio, an orchestrator or Prometheus expects of it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from ml_backend.errors import ImageUnreadable
from ml_backend.jobs.store import Store
from ml_backend.records import Annotation, Task
from ml_backend.web.app import create_app
from ml_backend.web.services import WebServices

from .builders import (
    ADMIN,
    IDS,
    MAX_REQUEST_BYTES,
    NOW,
    PAYLOADS,
    PREDICT,
    SECRET,
    SETUP,
    basic,
    header,
    services,
)

LABEL_STUDIO = basic("label-studio", SECRET)


class StoreThatFails:
    """A database whose disk is full."""

    def __getattr__(self, name: str) -> Any:
        raise OperationalError("SELECT", None, Exception("database or disk is full"))


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health_touches_nothing(tmp_path: Path, path: str) -> None:
    client = create_app(services(tmp_path, store=StoreThatFails())).test_client()

    assert client.get(path).json == {"status": "UP", "model_class": "ActiveLabelerModel"}


@pytest.mark.parametrize("action", PAYLOADS)
def test_webhook_stores_the_event(client: FlaskClient, web: WebServices, action: str) -> None:
    payload = {"action": action, **PAYLOADS[action]}
    answer = client.post("/webhook?project=7", json=payload, headers=header(SECRET))
    claim = web.store.claim("me", 60, NOW)

    assert answer.json == {"status": "stored", "action": action}
    assert claim is not None
    assert [(each.task_ids, each.annotation_ids) for each in claim.events] == [IDS[action]]
    assert claim.events[0].received_at == NOW


def test_webhook_without_payload_is_stored_for_the_project_of_its_url(
    client: FlaskClient, web: WebServices
) -> None:
    body = {"action": "ANNOTATION_CREATED"}
    assert client.post("/webhook?project=7", json=body, headers=header(SECRET)).status_code == 200

    assert web.store.is_dirty(7)
    assert not web.store.is_dirty(8)


def test_unknown_action_is_ignored_and_does_not_start_a_round(
    client: FlaskClient, web: WebServices
) -> None:
    body = {"action": "LABEL_LINK_CREATED", "project": {"id": 7}}
    answer = client.post("/webhook", json=body, headers=header(SECRET))

    assert (answer.status_code, answer.json["status"]) == (202, "ignored")
    assert not web.store.is_dirty(7)


def test_setup_names_the_version_in_force_or_none(client: FlaskClient) -> None:
    assert client.post("/setup", json=SETUP, headers=LABEL_STUDIO).json == {"model_version": "v1"}
    other = {**SETUP, "project": "8.1700000000"}
    assert client.post("/setup", json=other, headers=basic(*ADMIN)).json == {"model_version": ""}


def test_predict_answers_one_result_a_task_in_their_order(client: FlaskClient) -> None:
    results = client.post("/predict", json=PREDICT, headers=LABEL_STUDIO).json["results"]

    assert [each["of"] for each in results] == [5, 6]


def test_predict_of_a_task_that_label_studio_has_not_stored_yet_has_no_id(
    tmp_path: Path,
) -> None:
    asked: list[Sequence[Mapping[str, Any]]] = []

    def predict(_: int, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        asked.append(tasks)
        return []

    built = services(tmp_path, predict=predict)
    body = {**PREDICT, "tasks": [{"data": {"image": "a"}}]}
    create_app(built).test_client().post("/predict", json=body, headers=LABEL_STUDIO)
    built.store.close()

    assert asked == [[{"data": {"image": "a"}}]]


def test_versions_lists_what_may_be_in_label_studio_newest_first(
    client: FlaskClient, web: WebServices
) -> None:
    for number, state in enumerate(["deleted", "superseded", "current"]):
        web.store.add_version(7, f"v{number}", number, NOW + timedelta(seconds=number))
        web.store.set_version_state(7, f"v{number}", state, NOW)

    assert client.get("/versions", headers=LABEL_STUDIO).json == {"versions": ["v2", "v1"]}


def test_ready_says_what_is_missing(client: FlaskClient, web: WebServices) -> None:
    def ready() -> tuple[int, str]:
        answer = client.get("/ready")
        return answer.status_code, "; ".join(answer.json["problems"])

    assert ready()[0] == 503
    assert "active-labeler train" in ready()[1]
    web.store.beat("trainer", NOW - timedelta(seconds=31), "idle")
    assert ready()[0] == 503
    assert "31 s" in ready()[1]
    web.store.beat("trainer", NOW - timedelta(seconds=29), "idle")
    assert ready() == (200, "")


def test_database_that_fails_is_reported_as_json_and_not_in_detail(tmp_path: Path) -> None:
    client = create_app(services(tmp_path, store=StoreThatFails())).test_client()

    ready = client.get("/ready")
    assert (ready.status_code, ready.json["problems"]) == (
        503,
        ["the backend's database does not answer"],
    )
    webhook = client.post("/webhook", json={"action": "X"}, headers=header(SECRET))
    assert (webhook.status_code, webhook.json) == (
        503,
        {"error": "the backend's database does not answer"},
    )


def test_failure_inside_predict_is_json_and_its_reason_stays_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> list[dict[str, Any]]:
        raise RuntimeError("a detail")

    built = services(tmp_path, predict=fail)
    answer = create_app(built).test_client().post("/predict", json=PREDICT, headers=LABEL_STUDIO)
    built.store.close()

    assert answer.status_code == 500
    assert "a detail" not in answer.text
    assert "a detail" in caplog.text


def test_failure_on_purpose_says_its_reason(tmp_path: Path) -> None:
    def fail(*_: object) -> list[dict[str, Any]]:
        raise ImageUnreadable("task 5: not an image")

    built = services(tmp_path, predict=fail)
    answer = create_app(built).test_client().post("/predict", json=PREDICT, headers=LABEL_STUDIO)
    built.store.close()

    assert (answer.status_code, answer.json) == (503, {"error": "task 5: not an image"})


def test_status_tells_how_a_project_stands(client: FlaskClient, web: WebServices) -> None:
    web.store.upsert_tasks(7, [Task(1, "a"), Task(2, "b"), Task(3, "c")])
    web.store.replace_annotations(7, [1], [Annotation(10, 1, 3, "cat")])
    round_id = web.store.start_round(7, NOW)
    report = {"timings_s": {"fit": 0.25}}
    web.store.finish_round(round_id, NOW, state="published", model_version="v1", report=report)
    web.store.beat("trainer", NOW - timedelta(seconds=3), "idle")
    status = client.get("/status", headers=header(SECRET)).json

    (shown,) = status["projects"]
    assert (shown["tasks"], shown["labeled"], shown["pool"], shown["waiting"]) == (3, 1, 2, 0)
    assert shown["current_version"] == "v1"
    assert shown["last_round"]["report"] == report
    assert shown["last_round"]["finished_at"] == "2026-01-02T03:04:05+00:00"
    assert (status["trainers"][0]["age_s"], status["problems"]) == (3.0, [])
    assert "secret" not in str(status)


TRAINING = {
    "epoch": 3,
    "epochs": 12,
    "step": 30,
    "steps": 120,
    "train_loss": 0.5,
    "images_per_s": 40.0,
    "eta_s": 90.0,
}


def at_work(store: Store) -> None:
    """A fine-tune in its third epoch, and a round that measured on the holdout."""
    asked = store.ask_fine_tune(7, "command", NOW)
    store.claim_fine_tune(asked.fine_tune_id, "worker", 60.0, NOW)
    store.renew_fine_tune(
        asked.fine_tune_id, "worker", 60.0, NOW, state="training", progress=TRAINING
    )
    round_id = store.start_round(7, NOW)
    report = {"holdout_accuracy": 0.8, "holdout_interval": [0.7, 0.9]}
    store.finish_round(round_id, NOW, state="published", model_version="v1", report=report)


def test_status_tells_how_far_a_fine_tune_is(client: FlaskClient, web: WebServices) -> None:
    at_work(web.store)
    (shown,) = client.get("/status", headers=header(SECRET)).json["projects"]
    assert (shown["model"], shown["fine_tune"]["state"]) == (None, "training")
    assert shown["fine_tune"]["progress"] == TRAINING


def test_metrics_tell_how_far_a_fine_tune_is_and_how_good_the_model(
    client: FlaskClient, web: WebServices
) -> None:
    at_work(web.store)
    text = client.get("/metrics", headers=basic(*ADMIN)).text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["active_labeler_fine_tune_at_work", "7", "training"] == 1
    assert samples["active_labeler_fine_tune_epoch", "7"] == 3
    assert samples["active_labeler_fine_tune_eta_s", "7"] == 90
    assert ("active_labeler_fine_tune_validation_loss", "7") not in samples  # none yet
    assert samples["active_labeler_holdout_accuracy", "7", "value"] == 0.8
    assert samples["active_labeler_holdout_accuracy", "7", "low"] == 0.7


def test_metrics_can_be_parsed_and_count_what_happened(
    client: FlaskClient, web: WebServices
) -> None:
    web.store.upsert_tasks(7, [Task(1, "a"), Task(2, "b")])
    round_id = web.store.start_round(7, NOW)
    report = {"timings_s": {"fit": 0.25}}
    web.store.finish_round(round_id, NOW, state="published", model_version="v1", report=report)
    web.store.beat("trainer", NOW - timedelta(seconds=3), "idle")
    body = {"action": "START_TRAINING", "project": {"id": 7}}
    client.post("/webhook", json=body, headers=header(SECRET))
    client.post("/webhook", json=body)
    client.get("/no/such/page")
    text = client.get("/metrics", headers=basic(*ADMIN)).text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    assert samples["active_labeler_http_requests_total", "/webhook", "200"] == 1
    assert samples["active_labeler_http_requests_total", "/webhook", "401"] == 1
    assert samples["active_labeler_events_total", "START_TRAINING"] == 1
    assert samples["active_labeler_pool", "7"] == 2
    assert samples["active_labeler_waiting", "7"] == 1
    assert samples["active_labeler_rounds_total", "7", "published"] == 1
    assert samples["active_labeler_last_round_seconds", "7", "fit"] == 0.25
    assert samples["active_labeler_trainer_heartbeat_age_seconds",] == 3


def test_nothing_secret_is_logged(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.post("/setup", json=SETUP, headers=LABEL_STUDIO)
    body = {"action": "ANNOTATION_CREATED", **PAYLOADS["ANNOTATION_CREATED"]}
    client.post("/webhook", json=body, headers=header(SECRET))
    client.post("/webhook", json=body, headers=header("wrong"))

    assert "hush" not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_the_limit_is_refused_however_it_is_sent(
    client: FlaskClient, web: WebServices, chunked: bool
) -> None:
    body = b'{"action": "START_TRAINING"}' + b" " * MAX_REQUEST_BYTES
    how: dict[str, Any] = {"data": body}
    if chunked:  # as gunicorn hands over a body of unknown length
        how = {"input_stream": BytesIO(body), "environ_overrides": {"wsgi.input_terminated": True}}
    answer = client.post(
        "/webhook?project=7", content_type="application/json", headers=header(SECRET), **how
    )

    assert answer.status_code == 413
    assert answer.json["error"]
    assert not web.store.is_dirty(7)


def test_body_of_unknown_length_within_the_limit_is_read(
    client: FlaskClient, web: WebServices
) -> None:
    answer = client.post(
        "/webhook?project=7",
        input_stream=BytesIO(b'{"action": "START_TRAINING"}'),
        environ_overrides={"wsgi.input_terminated": True},
        content_type="application/json",
        headers=header(SECRET),
    )

    assert answer.status_code == 200
    assert web.store.is_dirty(7)


def test_wrong_method_names_the_right_one(client: FlaskClient) -> None:
    answer = client.get("/webhook")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.json["error"]


def test_project_detached_between_check_and_write_is_404(tmp_path: Path) -> None:
    built = services(tmp_path)

    class Detached:
        """Detaches the project right before the event is stored."""

        def __getattr__(self, name: str) -> Any:
            return getattr(built.store, name)

        def receive(self, event: Any, now: Any) -> None:
            built.store.remove_project(7)
            built.store.receive(event, now)

    late = services(tmp_path, store=Detached())
    body = {"action": "START_TRAINING", "project": {"id": 7}}
    answer = create_app(late).test_client().post("/webhook", json=body, headers=header(SECRET))
    built.store.close()

    assert answer.status_code == 404


def test_web_loads_no_torch_and_no_sdk() -> None:
    code = (
        "import sys, ml_backend.web.app;"
        "assert not {'torch', 'label_studio_sdk', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


APPRAISAL = {
    "made_at": (NOW - timedelta(seconds=90)).isoformat(),
    "labels_saved": {"value": 38, "low": 20, "high": None, "sentence": "38 labels saved"},
    "map": {"method": "pca", "of": 2, "points": [{"task": 1}, {"task": 2}]},
}


def test_status_has_the_last_appraisal_without_its_map(web: WebServices) -> None:
    client = create_app(replace(web, appraisal=lambda _project_id: APPRAISAL)).test_client()
    (shown,) = client.get("/status", headers=header(SECRET)).json["projects"]
    assert shown["appraisal"] == {**APPRAISAL, "map": None}


def test_status_says_null_before_the_first_appraisal(client: FlaskClient) -> None:
    (shown,) = client.get("/status", headers=header(SECRET)).json["projects"]
    assert shown["appraisal"] is None


def test_metrics_have_labels_saved_as_far_as_they_are_known(web: WebServices) -> None:
    client = create_app(replace(web, appraisal=lambda _project_id: APPRAISAL)).test_client()
    text = client.get("/metrics", headers=basic(*ADMIN)).text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["active_labeler_labels_saved", "7", "value"] == 38
    assert samples["active_labeler_labels_saved", "7", "low"] == 20
    assert ("active_labeler_labels_saved", "7", "high") not in samples
    assert samples["active_labeler_appraisal_age_seconds", "7"] == 90
