"""A person who annotates: one browser context, the buttons they press, the task they see."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

from scripts import browser as browsers

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_MS = 45_000
LABEL_ALL_TASKS = "Label All Tasks"
SUBMIT = "[data-testid=bottombar-submit-button]"
SKIP = "[data-testid=bottombar-skip-button]"
CHOICES = "input.ant-checkbox-input"
SHOWS_TASK = """
number => document.querySelector(".lsf-current-task__task-id")?.firstChild?.textContent === number
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Where there is none, tests are skipped; in CI they fail."""
    path = browsers.find()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a Chromium: set CHROMIUM")
        pytest.skip("NO CHROMIUM, so nothing is tested in a browser: set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Annotator:
    """Somebody in their own browser. `task_id` is the task that they have open."""

    name: str
    page: Page
    url: str
    project_id: int
    task_id: int | None = None

    @classmethod
    def sign_in(
        cls, browser: Browser, url: str, name: str, password: str, project_id: int
    ) -> Annotator:
        """Open a browser context of their own and log in by the form."""
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(f"{url}/user/login/", wait_until="domcontentloaded")
        page.fill("input[name=email]", name)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]", no_wait_after=True)
        page.wait_for_url(lambda address: "/login" not in address, wait_until="commit")
        return cls(name, page, url, project_id)

    def label_all_tasks(self) -> int:
        """Go to the project and press the button; return the task that is shown."""
        address = f"{self.url}/projects/{self.project_id}/data"
        self.page.goto(address, wait_until="domcontentloaded")
        button = self.page.get_by_text(LABEL_ALL_TASKS, exact=True).first
        button.wait_for()
        return self._next(button.click)

    def choose(self, choice: str) -> None:
        """Tick a choice, unless it is ticked already."""
        box = self.page.locator(f'{CHOICES}[name="{choice}"]')
        if not box.is_checked():
            box.check(force=True)
        expect(box).to_be_checked()

    def submit(self) -> int | None:
        """Press Submit; return the task that is shown next, None where there is none."""
        return self._next(self.page.locator(SUBMIT).click)

    def skip(self) -> int | None:
        """Press Skip; return the task that is shown next, None where there is none."""
        return self._next(self.page.locator(SKIP).click)

    def ticked(self) -> list[str]:
        """The choices that are ticked on the screen now."""
        boxes = self.page.locator(CHOICES)
        names = [str(box.get_attribute("name")) for box in boxes.all() if box.is_checked()]
        return sorted(names)

    def screenshot(self, file: Path) -> None:
        """Take a picture of what they see, once the task's image is there."""
        self.page.get_by_text("Downloading image").wait_for(state="hidden")
        self.page.wait_for_timeout(300)  # the image fades in
        self.page.screenshot(path=file)

    def _next(self, press: Callable[[], None]) -> int:
        with self.page.expect_response(_is_next_task) as answer:
            press()
        task = answer.value.json()
        self.task_id = int(task["id"])
        # The number at the bottom left changes with the task; then its choices can be trusted.
        self.page.wait_for_function(SHOWS_TASK, arg=str(self.task_id))
        self.page.locator(CHOICES).first.wait_for()
        self.page.locator(SUBMIT).wait_for()
        return self.task_id


def _is_next_task(answer: Response) -> bool:
    return "/api/dm/actions" in answer.url and "id=next_task" in answer.url
