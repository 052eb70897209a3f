"""What a simulation leaves behind: a page that stands alone, a table, JSON."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ml_backend.simulation.advice import advise
from ml_backend.simulation.report import Results, as_html, write
from ml_backend.simulation.summary import summarise
from ml_backend.simulation.tables import comparison_table, labels_table
from tests.unit.simulation.builders import flat_curves

HOSTILE = "<script>alert(1)</script>\"'&\u202e</td>"
ADDRESSES = {"src", "href", "xlink:href", "action", "data", "poster", "srcset"}


class Page(HTMLParser):
    """Reads a page strictly enough to see what it would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in {"meta", "link", "br", "img", "input", "hr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def results() -> Results:
    curves = {
        **flat_curves("fast", random=[0.5, 0.52], uherding=[0.7, 0.73]),
        **flat_curves("best", random=[0.6, 0.62], uherding=[0.8, 0.83]),
    }
    rows = summarise(curves, [0.55, 0.99])
    return Results(
        data={"source": HOSTILE, "images": 60, "classes": {HOSTILE: 40, "cat": 20}},
        plan={"seeds": 2, "budgets": [10, 20]},
        notes=(f"1 images cannot be read: {HOSTILE}",),
        rows=rows,
        advice=advise(rows, curves),
        curves=curves,
    )


def test_the_page_loads_nothing_and_runs_nothing(results: Results) -> None:
    page = Page(as_html(results))
    assert not page.open
    assert not {"script", "iframe", "object", "embed", "link", "img", "form"} & set(page.tags)
    loaded = [value for name, value in page.attributes if name in ADDRESSES]
    assert not [value for value in loaded if not str(value).startswith("#")]
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.tags.count("svg") == 2


def test_names_are_shown_as_text_without_characters_that_turn_it(results: Results) -> None:
    text = as_html(results)
    assert "<script>" not in text
    assert "\u202e" not in text
    assert Page(text).text.count("<script>alert(1)</script>") == 3  # source, class, note


def test_the_page_says_what_to_take_and_by_which_rule(results: Results) -> None:
    text = Page(as_html(results)).text
    assert results.advice.sentences[0] in text
    assert results.advice.rule in text


def test_the_three_files_hold_the_same_numbers(results: Results, tmp_path: Path) -> None:
    write(results, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "report.html",
        "results.csv",
        "results.json",
    ]
    told = json.loads((tmp_path / "results.json").read_text())
    assert told["rows"][0]["aulc"]["mean"] == pytest.approx(0.815)
    assert told["advice"]["rule"] == results.advice.rule
    lines = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(lines) == 8 * 2
    assert {line["labels"] for line in lines} == {"10", "20"}


def test_tables_name_the_backbone_only_where_there_are_several(results: Results) -> None:
    assert "backbone" in comparison_table(results.rows).head
    alone = [row for row in results.rows if row.backbone == "fast"]
    assert "backbone" not in comparison_table(alone).head
    assert labels_table(alone).rows == (
        ("uherding", "10", "not with 20"),
        ("random", "not with 20", "not with 20"),
    )


def test_the_page_says_what_was_replayed_before_the_curves_and_shows_no_code(
    results: Results,
) -> None:
    page = as_html(results)
    assert page.index("What was replayed") < page.index("Learning curves</h2>")
    how = page[page.index("<caption>How</caption>") :]
    assert not set(how[: how.index("</table>")]) & set("[]{}")
