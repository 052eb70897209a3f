"""The admin's pages against the live loop: real Label Studio, real trainer, real browser.

The tests share one project and run in this order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from scripts.label_studio_content import create_project, upload_images
from scripts.local_label_studio import free_port
from tests.e2e.annotator import chromium
from tests.e2e.stack import LABEL_CONFIG, Stack, _truth, digit_images, wait_until
from tests.e2e.truths import settle

pytestmark = [
    pytest.mark.label_studio,
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

expect.set_options(timeout=60_000)  # the first chart of a process loads matplotlib

USER, PASSWORD = "admin", "the admin's own password"
TASKS, LABELED, WRONG = 120, 70, 3
WAIT_S = 240.0  # for what the trainer does beside other work
RECIPE = {"trained": "head", "epochs": 1, "batch_size": 16, "augment": "none", "patience": 0}
VIEWS = ("", "suspects", "models", "setup")


@pytest.fixture(scope="module")
def admin(bare_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project of digits with a backend of its own, labeled in part, three labels wrong."""
    folder, http = tmp_path_factory.mktemp("admin"), bare_stack.http
    project_id = create_project(http, "Handwritten digits", LABEL_CONFIG)
    upload_images(http, project_id, digit_images(folder / "digits")[200 : 200 + TASKS])
    environment = {
        **bare_stack.environment,
        "MODEL_DIR": str(folder / "model-dir"),
        "PORT": str(free_port()),
        "BASIC_AUTH_USER": USER,
        "BASIC_AUTH_PASS": PASSWORD,
        "ACTIVE_LABELER_AUDIT_SHARE": "0.3",
        "ACTIVE_LABELER_FINE_TUNE": "ask",
        "ACTIVE_LABELER_FINE_TUNE_RECIPE": json.dumps(RECIPE),
    }
    truth = _truth(http, project_id)
    stack = Stack(folder, bare_stack.label_studio, http, project_id, truth, environment)
    stack.start_serving()
    stack.train.start()
    try:
        stack.about("connect", "--backend-url", stack.backend_url)
        yield stack
    finally:
        stack.train.kill()
        stack.serve.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page(admin: Stack, browser: Browser) -> Page:
    """Somebody who has logged in; every complaint of the browser fails the test that made it."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    opened.set_default_timeout(60_000)
    log_in(opened, admin)
    return opened


def log_in(page: Page, stack: Stack, password: str = PASSWORD) -> None:
    page.goto(f"{stack.backend_url}/")  # a browser is shown the way
    page.get_by_label("User").fill(USER)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def address(stack: Stack, view: str) -> str:
    return f"{stack.backend_url}/ui/projects/{stack.project_id}/{view}"


def appraised(stack: Stack, enough: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Wait for an appraisal that has what a test wants; return it."""
    file = stack.model_dir / "projects" / str(stack.project_id) / "appraisal.json"

    def found() -> dict[str, Any] | None:
        appraisal = json.loads(file.read_text()) if file.exists() else None
        return appraisal if appraisal and enough(appraisal) else None

    wait_until(found, "the appraisal", WAIT_S)
    appraisal = found()
    assert appraisal
    return appraisal


def test_a_wrong_password_opens_nothing(admin: Stack, browser: Browser) -> None:
    page = browser.new_page()
    log_in(page, admin, "wrong")
    expect(page.get_by_role("alert")).to_have_text("This login is not right.")
    page.goto(address(admin, ""))
    expect(page).to_have_url(re.compile("/ui/login"))
    page.close()


def test_before_any_label_the_page_says_what_to_do(admin: Stack, page: Page) -> None:
    page.goto(address(admin, ""))
    expect(page.get_by_text("Nothing is labeled yet")).to_be_visible()
    expect(page.get_by_role("heading", name="Handwritten digits")).to_be_visible()


def test_the_page_shows_what_the_labels_were_worth(
    admin: Stack, page: Page, screenshots: Path
) -> None:
    tasks = sorted(admin.truth)[:LABELED]
    for task_id in tasks:
        digit = int(admin.truth[task_id])
        admin.annotate(task_id, str((digit + 5) % 10) if task_id in tasks[:WRONG] else str(digit))
    settle(admin)
    page.goto(address(admin, ""))
    page.get_by_role("button", name="Appraise now").click()
    expect(page.get_by_role("status")).to_contain_text("The trainer does it in the background")
    made = appraised(admin, lambda found: found["counts"]["labeled"] == LABELED)
    page.goto(address(admin, ""))
    accuracy = made["accuracy"]
    tile = page.locator(".tile").filter(has_text="Accuracy")
    expect(tile.locator(".big")).to_have_text(f"{100 * accuracy['value']:.0f}\u00a0%")
    expect(tile).to_contain_text(f"on {accuracy['n']} labels that the model never saw")
    curve = page.locator("#curve img")
    curve.scroll_into_view_if_needed()
    expect(curve).to_have_js_property("complete", True)
    assert curve.evaluate("image => image.naturalWidth") > 100
    shots = page.locator("#queue .shot img")
    assert shots.count() == len(made["queue_preview"])
    shots.first.scroll_into_view_if_needed()
    wait_until(lambda: shots.first.evaluate("image => image.naturalWidth") > 0, "a picture")
    picture = page.request.get(str(shots.first.evaluate("image => image.src")))
    assert picture.headers["content-type"] == "image/jpeg"
    dots = page.locator("svg.map circle")
    assert dots.count() == len(made["map"]["points"])
    dots.first.hover(force=True)
    expect(page.locator(".peek")).to_contain_text("Task ")
    take_pictures(page, screenshots, "project")


def test_a_suspect_goes_to_the_front(admin: Stack, page: Page, screenshots: Path) -> None:
    suspects = appraised(admin, lambda found: found["suspects"])["suspects"]
    page.goto(address(admin, "suspects"))
    task_id = suspects[0]["task"]
    section = page.locator("#suspects")
    link = section.get_by_role("link", name=f"Task {task_id}", exact=False).first
    expect(link).to_have_attribute(
        "href", f"{admin.label_studio.url}/projects/{admin.project_id}/data?task={task_id}"
    )
    section.get_by_label(f"Choose task {task_id}", exact=True).check()
    section.get_by_role("button", name="Put at the front").click()
    expect(page.get_by_role("status")).to_contain_text("1 put at the front")
    with admin.store() as store:
        assert [each.task_id for each in store.fronts(admin.project_id)] == [task_id]
    take_pictures(page, screenshots, "suspects")
    front = page.locator("#front")
    front.get_by_label(f"Choose task {task_id}", exact=True).check()
    front.get_by_role("button", name="Take from the front").click()
    with admin.store() as store:
        assert not store.fronts(admin.project_id)
    settle(admin)


def test_a_model_is_trained_promoted_and_taken_back(
    admin: Stack, page: Page, screenshots: Path
) -> None:
    page.goto(address(admin, "models"))
    page.get_by_role("button", name="Start a fine-tune").click()
    expect(page.locator("#work")).to_contain_text("Fine-tune 1")
    with admin.store() as store:
        wait_until(
            lambda: store.fine_tune(1).state in ("promoted", "refused"), "the fine-tune", WAIT_S
        )
        if store.fine_tune(1).state == "refused":
            page.goto(address(admin, "models"))
            page.once("dialog", lambda dialog: dialog.accept())
            page.get_by_role("button", name=re.compile("Promote 0")).first.click()
        wait_until(lambda: store.get_project(admin.project_id).model, "the promotion", WAIT_S)
        page.goto(address(admin, "models"))
        expect(page.locator(".state.champion")).to_have_count(1)
        take_pictures(page, screenshots, "models")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Roll back to the model before").click()
        wait_until(lambda: not store.get_project(admin.project_id).model, "the rollback", WAIT_S)
        # What is at work is shown fresh, without anybody loading the page again.
        wait_until(
            lambda: all(not job.is_open for job in store.jobs(admin.project_id)), "the jobs", WAIT_S
        )
    done = page.locator("#work tr").filter(has_text="Back to the model before")
    expect(done.first).to_contain_text("done")
    page.locator("a[href*='models/of/']").first.click()
    expect(page.get_by_role("heading", name="On the holdout of its time")).to_be_visible()
    settle(admin)


def test_setup_shows_what_doctor_finds(admin: Stack, page: Page) -> None:
    page.goto(address(admin, "setup"))
    expect(page.locator("#doctor table")).to_contain_text("trainer")
    assert page.locator("#doctor tbody tr").count() > 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_can_be_used_by_everybody(admin: Stack, page: Page, scheme: str) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.emulate_media(color_scheme=scheme)
    for where in [f"{admin.backend_url}/ui/", *(address(admin, view) for view in VIEWS)]:
        page.goto(where, wait_until="networkidle")
        found = Axe().run(page).response
        assert found["passes"]
        grave = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        assert not grave, f"{where}: {json.dumps(grave)[:2000]}"
    assert not [each for each in complaints if "Content Security Policy" in each]
    page.emulate_media(color_scheme="light")


def test_on_a_phone_nothing_hangs_over_the_edge(admin: Stack, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for view in VIEWS:
        page.goto(address(admin, view))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_pages_work_without_javascript(admin: Stack, browser: Browser) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    log_in(page, admin)
    page.goto(address(admin, "setup"))
    page.get_by_role("link", name="Look now").click()
    expect(page.locator("#doctor table")).to_contain_text("trainer")
    page.goto(address(admin, ""))
    page.get_by_text("The curve as a table").click()
    expect(page.locator("#curve table")).to_be_visible()
    page.context.close()


def test_the_report_is_one_file_that_opens_by_itself(
    admin: Stack, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    told = admin.about("report", "--output", str(file))
    assert told["pictures"] == told["of"] > 0
    page = browser.new_context(offline=True).new_page()
    page.goto(file.as_uri())
    expect(page.locator("#curve > svg")).to_be_visible()
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.locator("script").count() == 0
    page.context.close()
    again = admin.command("report", "--project", str(admin.project_id), "--output", str(file))
    assert again.code == 2
    assert "--force" in again.err


def test_who_logs_out_is_out(admin: Stack, page: Page) -> None:
    page.goto(address(admin, ""))
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/ui/login$"))
    page.goto(address(admin, ""))
    expect(page).to_have_url(re.compile("/ui/login"))


def take_pictures(page: Page, folder: Path, name: str) -> None:
    """Keep what the admin sees: light and dark, on a desk and on a phone."""
    page.evaluate(
        """async () => {
          for (let y = 0; y < document.body.scrollHeight; y += 500) {
            scrollTo(0, y);
            await new Promise(done => setTimeout(done, 60));
          }
          scrollTo(0, 0);
        }"""
    )
    everything = "[...document.images].every(image => image.complete && image.naturalWidth)"
    wait_until(lambda: page.evaluate(everything), "all pictures")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=folder / f"admin-{name}-{scheme}-{width}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
