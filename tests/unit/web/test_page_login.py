"""Pages open to who knows the login, and to nobody else."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from ml_backend.web.app import create_app
from ml_backend.web.attempts import FREE, Attempts
from ml_backend.web.login import own_page
from ml_backend.web.services import WebServices

from .builders import ADMIN, NOW, SECRET, basic, header
from .pages import VIEWS, log_in, press, signed_in, token_of, with_pages

POSTS = ("/ui/logout", "/ui/projects/7/front", "/ui/projects/7/jobs", "/ui/projects/7/fine-tune")


@pytest.fixture
def built(tmp_path: Path) -> WebServices:
    return with_pages(tmp_path)


@pytest.fixture
def stranger(built: WebServices) -> FlaskClient:
    return create_app(built).test_client()


@pytest.mark.parametrize("view", [*VIEWS, "/ui/projects/7/thumb/1.jpg", "/ui/projects/9/"])
def test_strangers_are_sent_to_the_login_and_see_nothing(stranger: FlaskClient, view: str) -> None:
    for headers in ({}, header(SECRET), basic("label-studio", SECRET), basic(ADMIN[0], "wrong")):
        answer = stranger.get(view, headers=headers)
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/ui/login")
        assert "Cats" not in answer.text


@pytest.mark.parametrize("view", VIEWS)
def test_who_logged_in_sees_every_page(built: WebServices, view: str) -> None:
    answer = signed_in(built).get(view)
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"


def test_the_cookie_is_kept_from_scripts_other_sites_and_other_routes(built: WebServices) -> None:
    app = create_app(built)
    for base, secure in (("http://backend", False), ("https://backend", True)):
        client = app.test_client()
        [cookie] = client.get("/ui/login", base_url=base).headers.getlist("Set-Cookie")
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/ui/" in cookie
        assert ("Secure" in cookie) == secure


def test_a_wrong_login_is_refused_and_a_right_one_goes_where_one_wanted(
    stranger: FlaskClient,
) -> None:
    assert log_in(stranger, ADMIN[0], "wrong").status_code == 401
    assert log_in(stranger, "", "").status_code == 401
    answer = log_in(stranger, *ADMIN, "/ui/projects/7/suspects")
    assert answer.headers["Location"] == "/ui/projects/7/suspects"


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/ui//evil", "/ui/\\evil", "/webhook", "", None],
)
def test_a_login_leads_to_no_other_site(target: str | None) -> None:
    assert own_page(target) == "/ui/"


def test_logging_out_ends_the_session(built: WebServices) -> None:
    client = signed_in(built)
    press(client, "/ui/", "/ui/logout")
    assert client.get("/ui/").status_code == 303


def test_an_answer_under_way_does_not_bring_back_a_session_that_was_ended(
    built: WebServices,
) -> None:
    client = signed_in(built)
    client.get("/ui/")
    for view in VIEWS:
        assert client.get(view).headers.getlist("Set-Cookie") == [], view


def test_a_changed_password_ends_sessions(built: WebServices) -> None:
    client = signed_in(built)
    changed = dataclasses.replace(built, basic_auth=(ADMIN[0], "another"))
    later = create_app(changed).test_client()
    later.set_cookie(
        "active_labeler", client.get_cookie("active_labeler", path="/ui/").value, path="/ui/"
    )
    assert later.get("/ui/").status_code == 303
    same = create_app(built).test_client()
    same.set_cookie(
        "active_labeler", client.get_cookie("active_labeler", path="/ui/").value, path="/ui/"
    )
    assert same.get("/ui/").status_code == 200


def test_a_cookie_that_we_did_not_sign_is_worth_nothing(stranger: FlaskClient) -> None:
    stranger.set_cookie("active_labeler", "eyJhcyI6ICJhZG1pbiJ9.x.y", path="/ui/")
    assert stranger.get("/ui/").status_code == 303


def test_scripts_read_with_the_login_and_change_nothing_by_it(stranger: FlaskClient) -> None:
    assert stranger.get("/ui/projects/7/", headers=basic(*ADMIN)).status_code == 200
    sent = {"csrf_token": token_of(stranger.get("/ui/login").text), "task": "1"}
    answer = stranger.post("/ui/projects/7/front", data=sent, headers=basic(*ADMIN))
    assert answer.headers["Location"].startswith("/ui/login")


@pytest.mark.parametrize("address", POSTS)
def test_a_button_pressed_by_another_site_does_nothing(built: WebServices, address: str) -> None:
    client = signed_in(built)
    for sent in ({}, {"csrf_token": "guessed"}):
        assert client.post(address, data={**sent, "task": "1", "do": "rollback"}).status_code == 400
    assert built.store.fronts(7) == []
    assert built.store.jobs(7) == []
    assert client.get("/ui/").status_code == 200


def test_who_guesses_passwords_has_to_wait(tmp_path: Path) -> None:
    clock = [NOW]
    built = with_pages(tmp_path, clock=lambda: clock[0])
    client = create_app(built).test_client()
    for _ in range(FREE):
        assert log_in(client, ADMIN[0], "wrong").status_code == 401
    waiting = log_in(client, *ADMIN)
    assert waiting.status_code == 429
    assert int(waiting.headers["Retry-After"]) >= 1
    clock[0] += timedelta(seconds=2)
    assert log_in(client, *ADMIN).status_code == 303


def test_waits_grow_to_a_minute_and_are_of_one_address() -> None:
    attempts = Attempts()
    for _ in range(30):
        attempts.failed("10.0.0.1", NOW)
    assert attempts.wait_s("10.0.0.1", NOW) == 60
    assert attempts.wait_s("10.0.0.2", NOW) == 0
    assert attempts.wait_s("10.0.0.1", NOW + timedelta(hours=1)) == 0
    attempts.succeeded("10.0.0.1")
    assert attempts.wait_s("10.0.0.1", NOW) == 0


def test_without_a_login_the_pages_say_how_to_set_one_and_nothing_else(tmp_path: Path) -> None:
    client = create_app(with_pages(tmp_path, basic_auth=None)).test_client()
    for view in (*VIEWS, "/ui/login", "/ui/projects/7/thumb/1.jpg"):
        answer = client.get(view)
        assert answer.status_code == 403
        assert "BASIC_AUTH_USER" in answer.text
        assert "Cats" not in answer.text


def test_label_studios_routes_need_no_token_of_ours(stranger: FlaskClient) -> None:
    body = {"action": "PROJECT_UPDATED", "project": {"id": 7}}
    assert stranger.post("/webhook", json=body, headers=header(SECRET)).status_code == 200
