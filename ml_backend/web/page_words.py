"""How pages write numbers, times and strangers' text. Knows Jinja; no store, no Flask."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from ml_backend.legible import legible

UNKNOWN = "–"
STEPS = ((60, "second"), (60, "minute"), (24, "hour"), (365, "day"))
JOBS = {"promote": "Promote", "rollback": "Back to the model before", "appraise": "Appraise"}
ESTIMATE = Markup('<span class="value">{}</span> <span class="interval">{} to {} %{}</span>')


def add_words(environment: Environment) -> None:
    """Teach templates our words."""
    environment.filters |= {
        "text": text,
        "percent": percent,
        "estimate": estimate,
        "number": number,
        "said": said,
        "ago": ago,
        "duration": duration,
        "job": lambda kind: JOBS.get(kind, legible(kind)),
        "cell": cell,
    }


def text(value: object, limit: int = 200) -> Markup:
    """Write strangers' text: escaped, legible, and turned for itself alone."""
    return Markup("<bdi>{}</bdi>").format(legible(value, limit))


def said(value: object, limit: int = 600) -> Markup:
    """Write a sentence of ours, in which commands stand between backquotes."""
    parts = legible(value, limit).split("`")
    marked = (
        Markup("<code>{}</code>").format(part) if row % 2 else escape(part)
        for row, part in enumerate(parts)
    )
    return Markup("").join(marked)


def percent(value: float | None, decimals: int = 0) -> str:
    """Write a share of [0, 1] as percent."""
    return UNKNOWN if value is None else f"{100 * value:.{decimals}f}\N{NO-BREAK SPACE}%"


def number(value: float | None) -> str:
    """Write a number as people do: 12,345."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def estimate(found: Mapping[str, Any] | None, decimals: int = 0) -> Markup:
    """Write an estimate with its 95 % interval, and how many labels it is from."""
    if not found or found.get("value") is None:
        return Markup('<span class="unknown">not known yet</span>')
    value = percent(found["value"], decimals)
    if found.get("low") is None or found.get("high") is None:
        return escape(value)
    low, high = (f"{100 * found[bound]:.{decimals}f}" for bound in ("low", "high"))
    of = f", from {number(found['n'])}" if found.get("n") is not None else ""
    return ESTIMATE.format(value, low, high, of)


def ago(moment: datetime | str | None, now: datetime) -> Markup:
    """Write how long ago something was, with the exact time to be pointed at."""
    if moment is None:
        return Markup("never")
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    passed_s = max(0.0, (now - at).total_seconds())
    said = "just now" if passed_s < 5 else f"{duration(passed_s)} ago"
    exactly = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(at.isoformat(), exactly, said)


def duration(seconds: float | None) -> str:
    """Write a length of time in its largest unit: "3 minutes"."""
    if seconds is None:
        return UNKNOWN
    left = float(seconds)
    for size, unit in STEPS:
        if round(left) < size or unit == "day":
            return f"{left:.0f} {unit}{'' if round(left) == 1 else 's'}"
        left /= size
    raise AssertionError("the last unit takes all")


def cell(value: object) -> Markup:
    """Write whatever a model's card holds."""
    if isinstance(value, float):
        return escape(f"{value:.4g}")
    if isinstance(value, Mapping):
        pairs = (Markup("{}: {}").format(legible(key), cell(each)) for key, each in value.items())
        return Markup(", ").join(pairs)
    if isinstance(value, list | tuple):
        return Markup(", ").join(cell(each) for each in value)
    return escape(UNKNOWN) if value is None or value == "" else text(value)
