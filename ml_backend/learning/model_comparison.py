"""Two model cards side by side, as rows for printing.

Knows cards and how to write numbers for people; no folders, no weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ml_backend.learning.model_card import ModelCard

_NOTHING = "–"


def compare(a: ModelCard, b: ModelCard) -> dict[str, Any]:
    """Put two cards side by side.

    Gives `names` (2) and `rows` of `what`, `a`, `b` (texts, "–" where one has nothing) and
    `differs`; settings only where they differ. `warnings` says what makes the numbers no fair
    comparison. All of it is JSON.
    """
    rows = [*_facts(a, b), *_measures(a, b), *_recalls(a, b), *_settings(a, b)]
    return {"names": [a.name, b.name], "rows": rows, "warnings": _warnings(a, b)}


def _row(what: str, a: str, b: str) -> dict[str, Any]:
    return {"what": what, "a": a, "b": b, "differs": a != b}


def _facts(a: ModelCard, b: ModelCard) -> Iterator[dict[str, Any]]:
    for what, name in (
        ("kind", "kind"),
        ("parent", "parent"),
        ("made", "created_at"),
        ("code", "code_version"),
        ("trained on labels", "n_trained"),
        ("seed", "seed"),
    ):
        yield _row(what, _text(getattr(a, name)), _text(getattr(b, name)))
    architectures = [card.backbone_facts.get("architecture") for card in (a, b)]
    yield _row("architecture", *map(_text, architectures))
    yield _row("classes", ", ".join(a.classes), ", ".join(b.classes))


def _measures(a: ModelCard, b: ModelCard) -> Iterator[dict[str, Any]]:
    both = [card.holdout_metrics or {} for card in (a, b)]
    yield _row("holdout labels", *(_text(each.get("n")) for each in both))
    for what in ("accuracy", "balanced_accuracy", "macro_f1"):
        yield _row(what.replace("_", " "), *(_measure(each.get(what)) for each in both))
    for when in ("", "_uncalibrated"):
        name, said = f"calibration_error{when}", " before temperature" if when else ""
        yield _row(f"calibration error{said}", *(_error(each.get(name)) for each in both))
        yield _row(f"log loss{said}", *(_text(each.get(f"log_loss{when}")) for each in both))


def _recalls(a: ModelCard, b: ModelCard) -> Iterator[dict[str, Any]]:
    recalls = [
        {each["name"]: _measure(each["recall"]) for each in metrics.get("per_class", ())}
        for metrics in (a.holdout_metrics or {}, b.holdout_metrics or {})
    ]
    for name in dict.fromkeys([*a.classes, *b.classes]):
        yield _row(f"recall of {name}", *(each.get(name, _NOTHING) for each in recalls))


def _settings(a: ModelCard, b: ModelCard) -> Iterator[dict[str, Any]]:
    one, other = a.recipe or {}, b.recipe or {}
    for name in dict.fromkeys([*one, *other]):
        row = _row(f"setting {name}", _text(one.get(name)), _text(other.get(name)))
        if row["differs"]:
            yield row


def _warnings(a: ModelCard, b: ModelCard) -> list[str]:
    said = []
    if set(a.classes) != set(b.classes):
        said.append("They know different classes.")
    if a.holdout != b.holdout:
        said.append("Their holdouts were drawn differently.")
    counts = [(card.holdout_metrics or {}).get("n") for card in (a, b)]
    if counts[0] != counts[1]:
        said.append(
            f"Measured on {_text(counts[0])} and on {_text(counts[1])} holdout labels: "
            "the intervals compare, the numbers do not."
        )
    return said


def _measure(measure: Mapping[str, float | None] | None) -> str:
    """Write "83.3 % [71, 91]"."""
    if measure is None or measure["value"] is None:
        return _NOTHING
    value = f"{100 * measure['value']:.1f} %"
    if measure["low"] is None or measure["high"] is None:
        return value
    return f"{value} [{100 * measure['low']:.0f}, {100 * measure['high']:.0f}]"


def _error(error: Mapping[str, float] | None) -> str:
    """Write "0.081 (chance alone: 0.064)"."""
    if error is None:
        return _NOTHING
    return f"{error['value']:.3f} (chance alone: {error['by_chance']:.3f})"


def _text(value: Any) -> str:
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
