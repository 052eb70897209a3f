"""A report is one file: nothing is fetched, nothing runs, and strangers' words stay words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ml_backend.web.report import pictured, render_report

from .appraisals import appraisal, nothing_known
from .builders import NOW, SECRET, project, services
from .test_page_escaping import WORDS, Elements

JPEG = b"\xff\xd8 a picture"


def render(folder: Path, found: dict[str, Any] | None, title: str = "Cats", **extra: Any) -> str:
    folder.mkdir(exist_ok=True)
    store = services(folder).store
    html = render_report(
        project(7, SECRET, title=title),
        store.counts(7),
        found,
        {task_id: JPEG for task_id in pictured(found)},
        now=NOW,
        links_url="https://labels.example.org",
        version="1.2.3",
        **extra,
    )
    store.close()
    return html


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_report_stands_alone_and_holds_nothing_that_acts(tmp_path: Path, words: str) -> None:
    found = appraisal((f"cat{words}", f"dog{words}"), words=words)
    html = render(tmp_path, found, title=words, notes=[words])
    for tag, attrs in Elements(html).found:
        assert tag not in ("script", "link", "iframe", "form", "button")
        assert not [name for name in attrs if name.startswith("on") or name == "style"]
        assert str(attrs.get("src", "data:image/jpeg")).startswith("data:image/jpeg")
        assert not str(attrs.get("href", "")).lower().startswith("javascript")
    assert not {"\u202e", "\x00", "\x1b"} & set(html)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_a_report_says_of_when_it_is_and_what_is_known(tmp_path: Path) -> None:
    html = render(tmp_path, appraisal())
    assert "Report of 2026-01-02 03:04 UTC" in html
    assert "appraised" in html
    assert html.count("<svg") > 5
    assert html.count("data:image/jpeg") >= 24


def test_a_report_without_numbers_says_so(tmp_path: Path) -> None:
    assert "There is no appraisal of this project yet." in render(tmp_path / "a", None)
    assert "cannot tell yet" in render(tmp_path / "b", nothing_known(), notes=["`x` is missing"])


def test_pictures_are_asked_for_once_each() -> None:
    wanted = pictured(appraisal())
    assert len(wanted) == len(set(wanted))
    assert {10, 33, 1, 3} <= set(wanted)  # the queue's ends, a suspect, a neighbour
