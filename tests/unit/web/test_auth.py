"""Each route opens to whom it is meant for, and to nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from ml_backend.errors import ConfigurationError
from ml_backend.web.app import create_app
from ml_backend.web.auth import Credentials, identify

from .builders import ADMIN, OTHER_SECRET, PREDICT, SECRET, SETUP, basic, header, services

REQUESTS: dict[str, dict[str, Any]] = {
    "/webhook": {"method": "POST", "json": {"action": "PROJECT_UPDATED", "project": {"id": 7}}},
    "/setup": {"method": "POST", "json": SETUP},
    "/predict": {"method": "POST", "json": PREDICT},
    "/versions": {"method": "GET"},
    "/status": {"method": "GET"},
    "/metrics": {"method": "GET"},
}
OF_PROJECT_7 = ("/webhook", "/setup", "/predict")
RIGHT = {
    "the project's secret in the header": header(SECRET),
    "the project's secret as Label Studio's password": basic("label-studio", SECRET),
    "the login of people": basic(*ADMIN),
}
WRONG: dict[str, dict[str, str]] = {
    "nothing": {},
    "an empty secret": header(""),
    "a wrong secret": header("wrong"),
    "a secret's beginning": header(SECRET[:-1]),
    "Label Studio without a password": basic("label-studio", ""),
    "Label Studio with a wrong password": basic("label-studio", "wrong"),
    "the secret under another user": basic("admin", SECRET),
    "the login's password as a secret": header("hush"),
    "the login with another's name": basic("label-studio", ADMIN[1]),
    "the login without its password": basic(ADMIN[0], ""),
    "the secret as a bearer token": {"Authorization": f"Bearer {SECRET}"},
    "Basic without anything": {"Authorization": "Basic"},
    "Basic that is not base64": {"Authorization": "Basic ÿÿ!!"},
    "Basic without a colon": {"Authorization": "Basic c2VjcmV0"},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """One app for all: what is asked here changes nothing that is looked at here."""
    built = services(tmp_path_factory.mktemp("auth"))
    yield create_app(built).test_client()
    built.store.close()


@pytest.mark.parametrize(("route", "who"), list(itertools.product(REQUESTS, RIGHT)))
def test_right_credentials_open_every_route(client: FlaskClient, route: str, who: str) -> None:
    assert client.open(route, headers=RIGHT[who], **REQUESTS[route]).status_code == 200


@pytest.mark.parametrize(("route", "who"), list(itertools.product(REQUESTS, WRONG)))
def test_wrong_credentials_open_none_and_are_told_what_to_do(
    client: FlaskClient, route: str, who: str
) -> None:
    answer = client.open(route, headers=WRONG[who], **REQUESTS[route])

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].lower().startswith("basic realm=")
    assert "connect --project" in answer.json["error"]
    assert "BASIC_AUTH_USER" in answer.json["error"]


@pytest.mark.parametrize("route", OF_PROJECT_7)
@pytest.mark.parametrize("headers", [header(OTHER_SECRET), basic("label-studio", OTHER_SECRET)])
def test_secret_of_another_project_does_not_open_this_one(
    client: FlaskClient, route: str, headers: dict[str, str]
) -> None:
    answer = client.open(route, headers=headers, **REQUESTS[route])

    assert answer.status_code == 401
    assert "project 7" in answer.json["error"]


@pytest.mark.parametrize("route", ["/", "/health", "/ready"])
def test_signs_of_life_are_open_and_tell_nothing_of_projects(
    client: FlaskClient, route: str
) -> None:
    answer = client.get(route)

    assert answer.status_code in (200, 503)
    assert "Cats" not in answer.text


def test_project_that_is_not_connected_is_404_for_people_and_401_for_a_guess(
    client: FlaskClient,
) -> None:
    payload = {"action": "PROJECT_UPDATED", "project": {"id": 9}}

    assert client.post("/webhook", json=payload, headers=basic(*ADMIN)).status_code == 404
    assert client.post("/webhook", json=payload, headers=header(SECRET)).status_code == 401
    assert client.post("/webhook", json=payload).status_code == 401
    setup = client.post("/setup", json={"project": "9.1"}, headers=basic(*ADMIN))
    assert setup.status_code == 404
    assert "connect --project 9" in setup.json["error"]


def test_secret_holder_sees_its_own_project_only_and_people_see_all(client: FlaskClient) -> None:
    def seen(headers: dict[str, str]) -> list[int]:
        status = client.get("/status", headers=headers).json
        return [each["project_id"] for each in status["projects"]]

    assert seen(header(SECRET)) == [7]
    assert seen(basic("label-studio", OTHER_SECRET)) == [8]
    assert seen(basic(*ADMIN)) == [7, 8]


def test_without_a_login_for_people_none_is_accepted(tmp_path: Path) -> None:
    built = services(tmp_path, basic_auth=None)
    client = create_app(built).test_client()

    for login in (ADMIN, ("", ""), ("None", "None")):
        assert client.get("/status", headers=basic(*login)).status_code == 401
    assert client.get("/status", headers=header(SECRET)).status_code == 200
    built.store.close()


@pytest.mark.parametrize("half", [("admin", ""), ("", "password")])
def test_half_a_login_is_refused_at_the_start(tmp_path: Path, half: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="BASIC_AUTH_PASS"):
        services(tmp_path, basic_auth=half, store=object())


def test_two_projects_with_the_same_secret_are_both_the_callers() -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
    caller = identify(Credentials(secret="secret"), None, [(1, digest), (2, digest), (3, "00")])

    assert caller is not None
    assert caller.project_ids == {1, 2}
    assert not caller.may_see(3)
