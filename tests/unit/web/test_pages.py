"""Pages show what is known, say what to do where nothing is, and do what their buttons say."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ml_backend.charts.palette import custom_properties
from ml_backend.errors import Busy, CorruptFile, ImageUnreadable, LabelStudioUnreachable
from ml_backend.records import Task
from ml_backend.web import pages
from ml_backend.web.app import create_app

from .appraisals import nothing_known
from .builders import ADMIN, NOW, basic
from .pages import JPEG, VIEWS, page_services, press, signed_in, with_pages

AS_ADMIN = basic(*ADMIN)
CHARTS = ("curve", "balance", "confusion", "calibration", "movement")


class Reader(HTMLParser):
    """What a page refers to, and the sentences in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def see(folder: Path, address: str, **changes: Any) -> Reader:
    client = create_app(with_pages(folder, **changes)).test_client()
    answer = client.get(address, headers=AS_ADMIN)
    assert answer.status_code == 200, answer.text
    return Reader(answer.text)


def test_the_project_page_gives_each_number_with_its_interval(tmp_path: Path) -> None:
    page = see(tmp_path, "/ui/projects/7/")
    assert "90 % 82 to 98 %, on 60 labels that the model never saw" in page.text
    assert "Labels saved 26 9 to 38." in page.text
    assert "75 of 100" in page.text
    assert "The next 100 labels should bring 2.1 points." in page.text


def test_every_chart_has_its_table(tmp_path: Path) -> None:
    page = see(tmp_path, "/ui/projects/7/")
    charts = [attrs for tag, attrs in page.tags if attrs.get("class") == "chart"]
    assert len(charts) == len(CHARTS)
    assert all("table" in str(attrs["alt"]) for attrs in charts)
    assert len([tag for tag, _ in page.tags if tag == "details"]) == len(CHARTS) + 1  # the map


def test_the_queue_shows_reason_answer_and_the_nearest_label(tmp_path: Path) -> None:
    page = see(tmp_path, "/ui/projects/7/")
    assert "Task 10 The model says cat , 41 % sure Unsure between two classes." in page.text
    assert "Nearest labeled: cat , similarity 0.93" in page.text
    assert "/ui/projects/7/thumb/10.jpg" in page.links
    assert "https://labels.example.org/projects/7/data?task=10" in page.links


def test_before_anything_can_be_measured_the_page_says_so_and_what_to_do(tmp_path: Path) -> None:
    page = see(tmp_path, "/ui/projects/7/", appraisal=lambda _id: nothing_known())
    assert "not known yet" in page.text
    assert "cannot tell yet There are no audit labels yet. About 30 more audit labels" in page.text
    assert "detach it, set ACTIVE_LABELER_AUDIT_SHARE" in page.text.replace("Detach", "detach")
    assert "no trainer has been seen" in page.text


def test_before_the_first_appraisal_who_has_labeled_is_not_told_to_begin(tmp_path: Path) -> None:
    labeled = see(tmp_path / "a", "/ui/projects/7/", appraisal=lambda _id: None).text
    assert "cannot tell yet It comes with the first appraisal" in labeled
    unlabeled = see(tmp_path / "b", "/ui/projects/8/", appraisal=lambda _id: None).text
    assert "cannot tell yet Label some tasks first" in unlabeled


def test_before_the_first_label_the_page_says_what_to_press(tmp_path: Path) -> None:
    built = with_pages(tmp_path)
    built.store.upsert_tasks(8, [Task(1, "/a.png")])
    client = create_app(built).test_client()
    text = Reader(client.get("/ui/projects/8/", headers=AS_ADMIN).text).text
    assert "Nothing is labeled yet" in text
    assert "Label All Tasks" in text


def test_suspects_link_to_label_studio_and_go_to_the_front(tmp_path: Path) -> None:
    built = with_pages(tmp_path)
    client = signed_in(built)
    page = Reader(client.get("/ui/projects/7/suspects").text)
    assert "https://labels.example.org/projects/7/data?task=2" in page.links
    assert "dog → cat , 97 % likely" in page.text
    sent = {"task": ["2", "1"], "why": "suspect label", "do": "ask"}
    after = press(client, "/ui/projects/7/suspects", "/ui/projects/7/front", **sent)
    assert after.status_code == 303
    assert [(each.task_id, each.why) for each in built.store.fronts(7)] == [
        (2, "suspect label"),
        (1, "suspect label"),
    ]
    text = Reader(client.get("/ui/projects/7/suspects").text).text
    assert "2 put at the front" in text
    assert "At the front 2" in text


def test_tasks_are_taken_from_the_front_and_a_round_is_asked_for(tmp_path: Path) -> None:
    built = with_pages(tmp_path)
    client = signed_in(built)
    built.store.ask_front(7, [1, 2], "why", NOW)
    press(client, "/ui/projects/7/suspects", "/ui/projects/7/front", task="1", do="drop")
    assert [each.task_id for each in built.store.fronts(7)] == [2]
    assert built.store.is_dirty(7)


@pytest.mark.parametrize("tasks", [[], ["x"], ["-1"], ["1" * 30], ["²"], ["1"] * 201])
def test_what_is_no_task_is_refused(tmp_path: Path, tasks: list[str]) -> None:
    built = with_pages(tmp_path)
    client = signed_in(built)
    answer = press(client, "/ui/projects/7/suspects", "/ui/projects/7/front", task=tasks)
    assert answer.status_code == 400
    assert built.store.fronts(7) == []


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ({"do": "promote", "model": "0001-first"}, [("promote", {"model": "0001-first"})]),
        ({"do": "rollback"}, [("rollback", {})]),
        ({"do": "appraise"}, [("appraise", {})]),
        ({"do": "promote"}, []),
        ({"do": "delete"}, []),
    ],
)
def test_buttons_ask_the_trainer(
    tmp_path: Path, sent: dict[str, str], asked: list[tuple[str, dict[str, str]]]
) -> None:
    built = with_pages(tmp_path)
    answer = press(signed_in(built), "/ui/projects/7/models", "/ui/projects/7/jobs", **sent)
    assert answer.status_code == (303 if asked else 400)
    assert [(job.kind, job.arguments) for job in built.store.jobs(7)] == asked


def test_a_fine_tune_is_asked_for_shown_and_cancelled(tmp_path: Path) -> None:
    built = with_pages(tmp_path)
    client = signed_in(built)
    press(client, "/ui/projects/7/models", "/ui/projects/7/fine-tune", do="start")
    [asked] = built.store.fine_tunes(7)
    claimed = built.store.claim_fine_tune(asked.fine_tune_id, "me", 60, NOW)
    progress = {"epoch": 2, "epochs": 9, "step": 10, "steps": 90, "eta_s": 180.0}
    built.store.renew_fine_tune(
        claimed.fine_tune_id, "me", 60, NOW, state="training", progress=progress
    )
    work = Reader(client.get("/ui/projects/7/models/work").text)
    assert "training , epoch 2 of 9, about 3 minutes to go" in work.text
    press(client, "/ui/projects/7/models", "/ui/projects/7/fine-tune", do="cancel")
    assert built.store.fine_tune(asked.fine_tune_id).cancel


def test_a_job_at_work_says_how_far_it_is_and_how_long_it_takes(tmp_path: Path) -> None:
    built = with_pages(tmp_path)
    number = built.store.ask_job(7, "promote", {"model": "0002"}, NOW)
    built.store.start_job(number, "me", 60, NOW - timedelta(minutes=1))
    progress = {"doing": "embedding images", "done": 25, "of": 100}
    built.store.renew_job(number, "me", 60, NOW, progress)
    work = Reader(signed_in(built).get("/ui/projects/7/models/work").text)
    assert "embedding images : 25 of 100, about 3 minutes to go" in work.text


def test_history_tells_what_changed_the_queue(tmp_path: Path) -> None:
    built = with_pages(tmp_path)
    number = built.store.start_round(7, NOW)
    built.store.finish_round(
        number, NOW, state="published", model_version="v9", report={"labeled": 75, "kept": 0.8}
    )
    text = Reader(signed_in(built).get("/ui/projects/7/models").text).text
    assert "order v9 75 80 %" in text


@pytest.mark.parametrize("name", CHARTS)
def test_charts_come_as_svg_of_their_own(tmp_path: Path, name: str) -> None:
    client = create_app(with_pages(tmp_path)).test_client()
    answer = client.get(f"/ui/projects/7/charts/{name}.svg", headers=AS_ADMIN)
    assert answer.mimetype == "image/svg+xml"
    assert answer.headers["Cache-Control"].startswith("private")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert client.get("/ui/projects/8/charts/curve.svg", headers=AS_ADMIN).status_code == 404
    assert client.get("/ui/projects/7/charts/map.svg", headers=AS_ADMIN).status_code == 404


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (None, 200, "image/jpeg"),
        (ImageUnreadable("damaged"), 200, "image/svg+xml"),
        (LabelStudioUnreachable("down"), 200, "image/svg+xml"),
        (Busy("later"), 503, "text/plain"),
        (LookupError("no such task"), 404, "text/html"),
    ],
)
def test_a_thumbnail_or_a_sign_that_there_is_none(
    tmp_path: Path, error: Exception | None, code: int, kind: str
) -> None:
    def thumbnail(_project_id: int, _task_id: int) -> bytes:
        if error:
            raise error
        return JPEG

    built = with_pages(tmp_path, pages=page_services(thumbnail=thumbnail))
    answer = create_app(built).test_client().get("/ui/projects/7/thumb/1.jpg", headers=AS_ADMIN)
    assert (answer.status_code, answer.mimetype) == (code, kind)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("view", [*VIEWS, "/ui/login", "/ui/nowhere", "/ui/static/ui.css"])
def test_every_page_is_shielded_and_asks_no_other_server(tmp_path: Path, view: str) -> None:
    answer = create_app(with_pages(tmp_path)).test_client().get(view, headers=AS_ADMIN)
    if view == "/ui/nowhere":
        assert answer.status_code == 404
        return
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = Reader(answer.text)
    answer.close()
    loaded = [attrs for tag, attrs in page.tags if tag in ("script", "img", "link", "iframe")]
    for attrs in loaded:
        assert str(attrs.get("src") or attrs.get("href")).startswith("/ui/")
    assert not [attrs for _, attrs in page.tags if "style" in attrs]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert not [tag for tag, attrs in page.tags if tag == "script" and not attrs.get("src")]


def test_a_browser_at_the_root_is_shown_the_pages_and_label_studio_is_not(tmp_path: Path) -> None:
    client = create_app(with_pages(tmp_path)).test_client()
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    assert client.get("/", headers=browser).headers["Location"] == "/ui/"
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert client.get("/", headers=accept).json["status"] == "UP"
    assert client.get("/health", headers=browser).json["status"] == "UP"


def test_what_cannot_be_read_is_said_on_a_page(tmp_path: Path) -> None:
    def damaged(_project_id: int) -> None:
        raise CorruptFile("appraisal.json is no appraisal")

    built = with_pages(tmp_path, appraisal=damaged)
    answer = create_app(built).test_client().get("/ui/projects/7/", headers=AS_ADMIN)
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "appraisal.json is no appraisal" in answer.text


@pytest.mark.parametrize("project_id", ["9", "0", "9" * 30])
def test_a_project_that_is_not_there_is_not_found(tmp_path: Path, project_id: str) -> None:
    client = create_app(with_pages(tmp_path)).test_client()
    for page in ("", "suspects", "models", "setup"):
        answer = client.get(f"/ui/projects/{project_id}/{page}", headers=AS_ADMIN)
        assert (answer.status_code, answer.mimetype) == (404, "text/html")


def test_the_style_sheet_has_the_colours_of_the_charts() -> None:
    css = (Path(pages.__file__).parent / "static" / "ui.css").read_text()
    squeezed = "".join(css.split())
    assert "".join(custom_properties(0).split()) in squeezed
    assert "".join(custom_properties(1).split()) in squeezed
