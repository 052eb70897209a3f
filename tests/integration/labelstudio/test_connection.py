"""Registering backend and webhook in a real Label Studio: once, again, repaired, removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ml_backend.errors import ConfigurationError, LabelStudioRefused
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.connection import EVENTS, SECRET_HEADER, TITLE, Connection
from scripts.local_label_studio import LocalLabelStudio, free_port
from tests.integration.labelstudio.webhook_receiver import Receiver, receiving
from tests.label_studio_server import LEGACY_TOKEN, PASSWORD, TestServer

pytestmark = pytest.mark.label_studio


@pytest.fixture(scope="module")
def backend() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def client(label_studio: TestServer) -> Iterator[LabelStudioClient]:
    client = LabelStudioClient(label_studio.url, label_studio.personal_access_token, 60)
    yield client
    client.close()


@pytest.fixture
def project_id(label_studio: TestServer) -> int:
    return label_studio.project("a connection")


def webhooks(server: TestServer, project_id: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.http.get(
        "/api/webhooks/", params={"project": project_id}
    ).json()
    return found


def backends(server: TestServer, project_id: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.http.get("/api/ml", params={"project": project_id}).json()
    return found


def test_connecting_leaves_one_backend_and_one_webhook_with_its_secret(
    label_studio: TestServer, client: LabelStudioClient, backend: Receiver, project_id: int
) -> None:
    ids = Connection(client, project_id).ensure(f"{backend.url}/", "secret-1")

    (registered,) = backends(label_studio, project_id)
    (hook,) = webhooks(label_studio, project_id)
    assert (registered["id"], hook["id"]) == (ids.backend_id, ids.webhook_id)
    assert (registered["title"], registered["url"], registered["state"]) == (
        TITLE,
        backend.url,
        "CO",
    )
    assert hook["url"] == f"{backend.url}/webhook?project={project_id}"
    assert hook["headers"] == {SECRET_HEADER: "secret-1"}
    assert set(hook["actions"]) == set(EVENTS)
    assert hook["is_active"]
    assert not hook["send_for_all_actions"]
    assert Connection(client, project_id).secret_of(ids.webhook_id) == "secret-1"


def test_label_studio_signs_in_to_the_backend_with_the_secret(
    client: LabelStudioClient, backend: Receiver, project_id: int
) -> None:
    before = len(backend.requests)
    Connection(client, project_id).ensure(backend.url, "secret-1")

    calls = [each for each in backend.requests[before:] if each.path in ("/health", "/setup")]
    assert calls
    assert {each.headers["authorization"] for each in calls} == {
        "Basic bGFiZWwtc3R1ZGlvOnNlY3JldC0x"  # label-studio:secret-1
    }


def test_connecting_again_changes_nothing(
    label_studio: TestServer, client: LabelStudioClient, backend: Receiver, project_id: int
) -> None:
    first = Connection(client, project_id).ensure(backend.url, "secret-1")
    before = webhooks(label_studio, project_id)

    assert Connection(client, project_id).ensure(backend.url, "secret-1") == first
    assert webhooks(label_studio, project_id) == before
    assert len(backends(label_studio, project_id)) == 1


def test_connecting_again_repairs_what_somebody_changed(
    label_studio: TestServer, client: LabelStudioClient, backend: Receiver, project_id: int
) -> None:
    first = Connection(client, project_id).ensure(backend.url, "secret-1")
    broken = {"is_active": False, "headers": {}, "actions": ["TASKS_CREATED"]}
    label_studio.http.patch(f"/api/webhooks/{first.webhook_id}/", json=broken).raise_for_status()
    others = {"project": project_id, "url": "http://127.0.0.1:1/theirs"}
    label_studio.http.post("/api/webhooks/", json=others).raise_for_status()

    again = Connection(client, project_id).ensure(backend.url, "secret-2")

    ours, theirs = sorted(webhooks(label_studio, project_id), key=lambda hook: int(hook["id"]))
    assert again == first
    assert ours["is_active"]
    assert ours["headers"] == {SECRET_HEADER: "secret-2"}
    assert set(ours["actions"]) == set(EVENTS)
    assert theirs["url"] == "http://127.0.0.1:1/theirs"


def test_a_moved_backend_takes_its_webhook_along(
    label_studio: TestServer, client: LabelStudioClient, backend: Receiver, project_id: int
) -> None:
    with receiving() as former:
        first = Connection(client, project_id).ensure(former.url, "secret-1")
        moved = Connection(client, project_id).ensure(backend.url, "secret-1")

    assert moved.backend_id == first.backend_id
    assert [each["url"] for each in backends(label_studio, project_id)] == [backend.url]
    # The one to the former address is nobody's any more; it is found by its secret's header.
    assert [each["url"] for each in webhooks(label_studio, project_id)] == [
        f"{backend.url}/webhook?project={project_id}"
    ]


def test_removing_leaves_nothing_of_ours_and_all_of_theirs(
    label_studio: TestServer, client: LabelStudioClient, backend: Receiver, project_id: int
) -> None:
    others = {"project": project_id, "url": "http://127.0.0.1:1/theirs"}
    label_studio.http.post("/api/webhooks/", json=others).raise_for_status()
    ids = Connection(client, project_id).ensure(backend.url, "secret-1")

    Connection(client, project_id).remove(ids.backend_id, ids.webhook_id)
    Connection(client, project_id).remove(ids.backend_id, ids.webhook_id)  # twice is no error

    assert backends(label_studio, project_id) == []
    assert [each["url"] for each in webhooks(label_studio, project_id)] == [others["url"]]
    assert Connection(client, project_id).secret_of(ids.webhook_id) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "must be serving"),
        ("http://nosuchhost.invalid:9090", "cannot resolve the host name"),
    ],
)
def test_an_address_that_leads_nowhere_is_explained(
    label_studio: TestServer, client: LabelStudioClient, project_id: int, url: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Connection(client, project_id).ensure(url, "secret-1")
    assert backends(label_studio, project_id) == []
    assert webhooks(label_studio, project_id) == []


@pytest.mark.parametrize("ml_blocked", ["true", "false"])
def test_blocked_private_addresses_name_the_switches_and_leave_nothing_behind(
    label_studio: TestServer,
    backend: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
    ml_blocked: str,
) -> None:
    server = LocalLabelStudio(
        label_studio.process.executable,
        tmp_path_factory.mktemp("blocking"),
        free_port(),
        password=PASSWORD,
        token=LEGACY_TOKEN,
        environment={"USE_DEFAULT_BANNED_SUBNETS": "true", "ML_BLOCK_LOCAL_IP": ml_blocked},
    )
    server.start()
    try:
        client = LabelStudioClient(server.url, LEGACY_TOKEN, 60)
        project_id = client.post(
            "/api/projects", {"title": "blocked", "label_config": "<View></View>"}
        )["id"]
        with pytest.raises(LabelStudioRefused) as raised:
            Connection(client, project_id).ensure(backend.url, "secret-1")
        assert client.get("/api/ml", {"project": project_id}) == []
        assert client.get("/api/webhooks/", {"project": project_id}) == []
        client.close()
    finally:
        server.stop()
    for name in ("SSRF_PROTECTION_ENABLED", "ML_BLOCK_LOCAL_IP", "USE_DEFAULT_BANNED_SUBNETS"):
        assert name in str(raised.value)
