"""Charts say what the data says, to everybody, and pass on nothing that acts."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest
from defusedxml.ElementTree import fromstring

from ml_backend.charts import (
    Bars,
    Saving,
    Series,
    bars,
    confusion,
    learning_curves,
    movement,
    reliability,
)
from ml_backend.charts.palette import COLOURS

HOSTILE = "</text><script>alert(1)</script>$x^{$\u202e\x00'\""
CURVE = Series("queue", [(10, 0.5, 0.4, 0.6), (20, 0.7, None, None)])
DRAWINGS: dict[str, Callable[..., str]] = {
    "learning_curves": lambda **how: learning_curves([CURVE], HOSTILE, HOSTILE, **how),
    "movement": lambda **how: movement([(10, 0.2), (11, 0.9)], **how),
    "reliability": lambda **how: reliability([(0.2, 0.3, 5), (0.9, 0.8, 50)], **how),
    "bars": lambda **how: bars(
        [HOSTILE, "dog"],
        [Bars("labels", [1, 2], [(0, 2), None]), Bars(HOSTILE, [3, 4])],
        "n",
        **how,
    ),
    "confusion": lambda **how: confusion([[5, 1], [0, 0]], [HOSTILE, "dog"], **how),
}
every_drawing = pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)


def texts(svg: str) -> list[str]:
    return [text for text in fromstring(svg).itertext() if text.strip()]


@every_drawing
def test_a_chart_has_a_name_and_a_description_for_who_does_not_see_it(
    draw: Callable[..., str],
) -> None:
    root = fromstring(draw())
    named = [
        element
        for wanted in root.attrib["aria-labelledby"].split()
        for element in root.iter()
        if element.attrib.get("id") == wanted
    ]
    assert root.attrib["role"] == "img"
    assert len(named) == 2
    assert all(element.text for element in named)


@every_drawing
def test_a_chart_holds_nothing_that_acts(draw: Callable[..., str]) -> None:
    svg = draw()
    assert "<script" not in svg
    assert not {"\u202e", "\x00"} & set(svg)
    assert not re.search(r'\s(style|on\w+)="', svg)
    assert not re.search(r'(?:href|src)="(?!#)', svg)


@every_drawing
def test_the_colours_are_the_readers(draw: Callable[..., str]) -> None:
    svg = draw()
    body = re.sub(r"<style>.*?</style>", "", svg)
    assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'id="[^"]*"|href="[^"]*"', "", body))
    assert set(re.findall(r"var\(--chart-([\w-]+)\)", body)) <= COLOURS.keys()
    assert "prefers-color-scheme:dark" in svg
    assert "<style" not in draw(standalone=False)


@every_drawing
def test_the_same_data_is_the_same_text_in_any_thread(draw: Callable[..., str]) -> None:
    drawn: list[str] = []
    threads = [threading.Thread(target=lambda: drawn.append(draw())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {draw()} == set(drawn)


def test_two_charts_on_a_page_share_no_id() -> None:
    one, other = (
        set(re.findall(r'\bid="([^"]+)"', confusion([[n]], ["cat"], standalone=False)))
        for n in (3, 4)
    )
    assert one
    assert not one & other


@every_drawing
def test_references_lead_to_what_is_there(draw: Callable[..., str]) -> None:
    svg = draw()
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)) <= {
        pair for name in ids for pair in ((name, ""), ("", name))
    }


def test_names_are_text_that_can_be_found() -> None:
    assert "dog" in texts(confusion([[5, 1], [0, 7]], ["cat", "dog"]))
    assert "7" in texts(confusion([[5, 1], [0, 7]], ["cat", "dog"]))
    assert "$x$" in texts(learning_curves([CURVE], "$x$", "y"))


def test_a_saving_is_written_between_the_curves() -> None:
    svg = learning_curves([CURVE], "labels", "accuracy", saving=Saving(12, 20, 0.7))
    assert "8 saved" in texts(svg)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: learning_curves([Series("queue", [])], "x", "y"),
        lambda: movement([]),
        lambda: reliability([]),
        lambda: bars([], [], "n"),
        lambda: bars(["cat"], [Bars("labels", [1, 2])], "n"),
        lambda: confusion([], []),
        lambda: confusion([[1, 2]], ["cat", "dog"]),
    ],
)
def test_nothing_to_draw_is_refused(draw: Callable[[], str]) -> None:
    with pytest.raises(ValueError, match=r"needs at least|expected"):
        draw()
