"""Whatever strangers write comes out as text: on pages, in charts, in attributes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ml_backend.jobs.store import Store
from ml_backend.web.app import create_app

from .builders import ADMIN, NOW, SECRET, basic, project
from .pages import VIEWS, with_pages

WORDS = {
    "a script": "<script>alert(1)</script>",
    "an attribute": "\"'><img src=x onerror=alert(1)>",
    "the end of a svg": "</text></svg><script>alert(1)</script>",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "an address": "javascript:alert(1)",
    "bidi": "a\u202eb\u2066c",
    "control characters": "a\x00b\x1bc",
    "a line break": "a\r\nSet-Cookie: x=y",
}


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def harmless(html: str) -> None:
    for tag, attrs in Elements(html).found:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        assert tag != "script" or str(attrs.get("src")).startswith("/ui/static/")
        for name in ("href", "src", "action"):
            assert not str(attrs.get(name, "")).lower().startswith(("javascript", "data:text"))
        assert attrs.get("src") != "x"
    shown = re.sub(r'value="[^"]*"', "", html)  # what a button sends back must be what came
    assert not {"\u202e", "\u2066", "\x00", "\x1b"} & set(shown)


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_hostile_words_stay_words(tmp_path: Path, words: str) -> None:
    built = with_pages(tmp_path, words)
    built.store.save_project(
        project(
            7, SECRET, title=words, backend_url=words, label_studio_url=words, current_version=words
        )
    )
    fill_history(built.store, words)
    client = create_app(built).test_client()
    for view in VIEWS:
        answer = client.get(view, headers=basic(*ADMIN))
        assert answer.status_code == 200, answer.text
        harmless(answer.text)
    for chart in ("curve", "balance", "confusion"):
        harmless(client.get(f"/ui/projects/7/charts/{chart}.svg", headers=basic(*ADMIN)).text)


def test_hostile_addresses_come_back_as_text(tmp_path: Path) -> None:
    client = create_app(with_pages(tmp_path)).test_client()
    for address in (
        "/ui/projects/7/models/of/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/ui/projects/7/models/compare?model=%3Cscript%3E&model=%22%3E%3Cimg%20src=x%20onerror=1%3E",
        "/ui/login?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/ui/projects/7/charts/%3Cscript%3E.svg",
    ):
        harmless(client.get(address, headers=basic(*ADMIN)).text)


def fill_history(store: Store, words: str) -> None:
    number = store.start_round(7, NOW)
    store.finish_round(number, NOW, state="failed", model_version=words, report={"error": words})
    store.note_model(7, f"0002{words}", "champion", words, NOW)
    store.ask_front(7, [1, 2], words, NOW)
    job = store.ask_job(7, "promote", {"model": words}, NOW)
    store.start_job(job, "me", 60, NOW)
    store.finish_job(job, NOW, words)
    tuned = store.ask_fine_tune(7, words, NOW)
    store.finish_fine_tune(tuned.fine_tune_id, NOW, state="failed", outcome={"error": words})
