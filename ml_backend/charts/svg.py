"""A matplotlib figure as SVG for web pages. Knows matplotlib's SVG writer, XML and CSS.

What comes out is the same text for the same drawing, whatever runs beside it. Text stays text,
colours follow the reader's light or dark scheme, a title and a description stand for those who see
nothing. It holds no script, no style attribute and no address but its own, so that it passes a
content security policy without `unsafe-inline`.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree.ElementTree import Element, register_namespace, tostring

import matplotlib
from defusedxml.ElementTree import fromstring
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ml_backend.charts.palette import STAND_INS, STYLE, colour
from ml_backend.legible import legible

SVG = "http://www.w3.org/2000/svg"
_NAME = "{" + SVG + "}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_FONT = "system-ui, sans-serif"
_RULES: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "active-labeler",  # the same ids each time
    "text.parse_math": False,  # a class may be called $x$
    "font.family": "DejaVu Sans",  # wider than most: what it leaves room for fits
    "font.size": 11.5,
}
# matplotlib's settings belong to the process, and pages are drawn in threads.
_LOCK = threading.RLock()

register_namespace("", SVG)
register_namespace("xlink", "http://www.w3.org/1999/xlink")


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Open a figure to draw on, of so many pixels; only one thread draws at a time."""
    with _LOCK, matplotlib.rc_context(_RULES), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # readers have more fonts than we
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        yield figure


def svg(figure: Figure, title: str, description: str = "", *, standalone: bool = True) -> str:
    """Write a figure as an `<svg>` element, of which text and colours are left to the reader.

    `standalone` brings the colours along, as a file or an `<img>` needs; inside a page they are
    `palette.STYLE`'s. Call it inside `drawing`, or with any figure of your own.
    """
    with _LOCK, matplotlib.rc_context(_RULES), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    root = fromstring(written.getvalue(), forbid_dtd=False)
    mark = "c" + hashlib.sha256((title + written.getvalue()).encode()).hexdigest()[:8]
    _clean(root, mark)
    _describe(root, title, description, mark)
    if standalone:
        style = Element(f"{_NAME}style")
        style.text = STYLE
        root.insert(0, style)
    return tostring(root, encoding="unicode")


def bare_axes(figure: Figure) -> matplotlib.axes.Axes:
    """Add the one plot of a figure, with a light grid and in our colours."""
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(colour("rule"))
    axes.tick_params(colors=colour("muted"), length=0)
    axes.grid(color=colour("rule"), linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(colour("muted"))
    axes.yaxis.label.set_color(colour("muted"))
    return axes


def _clean(root: Element, mark: str) -> None:
    """Drop what no page needs; make ids its own, and styles attributes."""
    width, height = root.attrib["viewBox"].split()[2:]
    root.attrib.update(width=width, height=height)
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{_NAME}metadata", f"{_NAME}style"):
                parent.remove(child)
    for element in root.iter():
        if element.tag == f"{_NAME}g":
            element.attrib.pop("id", None)
        element.attrib.update(_declarations(element.attrib.pop("style", "")))
        for name, value in element.attrib.items():
            owned = _own_id(name, value, mark)
            element.attrib[name] = _FONT if name == "font-family" else _coloured(owned)


def _own_id(attribute: str, value: str, mark: str) -> str:
    """Mark ids, and references to them, as this drawing's: a page may hold several."""
    if attribute == "id":
        return f"{mark}-{value}"
    if attribute == _HREF:
        return f"#{mark}-{value.removeprefix('#')}"
    return value.replace("url(#", f"url(#{mark}-")


def _declarations(style: str) -> list[tuple[str, str]]:
    pairs = [each.partition(":") for each in style.split(";") if each.strip()]
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _coloured(value: str) -> str:
    """Put the custom property in the place of its stand-in."""
    for name, stand_in in STAND_INS.items():
        value = value.replace(stand_in, f"var(--chart-{name})")
    return value


def _describe(root: Element, title: str, description: str, mark: str) -> None:
    """Say what the drawing shows to whoever does not see it."""
    texts = {"title": legible(title), "desc": legible(description, 2000)}
    said = {name: text for name, text in texts.items() if text}
    for row, (name, text) in enumerate(said.items()):
        element = Element(f"{_NAME}{name}", {"id": f"{mark}-{name}"})
        element.text = text
        root.insert(row, element)
    root.attrib |= {"role": "img", "aria-labelledby": " ".join(f"{mark}-{name}" for name in said)}
