"""From an appraisal to its charts: SVG text, drawn once an appraisal.

Loads matplotlib when the first chart is asked for, and not before: webhooks need none of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ml_backend.legible import legible

Appraisal = Mapping[str, Any]
KEPT = 200  # drawings; some 15 kB each
MOST_CLASSES = 24  # that a chart shows; its table has all


class Charts:
    """Draws, and remembers what it drew."""

    def __init__(self) -> None:
        self._drawn: OrderedDict[tuple[int, str, str, bool], str] = OrderedDict()

    def draw(
        self, project_id: int, name: str, appraisal: Appraisal, *, standalone: bool = True
    ) -> str:
        """Return a chart of an appraisal by its name. Raises LookupError where there is none."""
        if name not in available(appraisal):
            raise LookupError(f"there is no chart {name!r}")
        key = (project_id, name, str(appraisal["made_at"]), standalone)
        drawn = self._drawn.get(key)
        if drawn is None:
            drawn = self._drawn[key] = DRAWINGS[name](appraisal, standalone)
            while len(self._drawn) > KEPT:
                self._drawn.popitem(last=False)
        return drawn


def available(appraisal: Appraisal) -> set[str]:
    """Name the charts for which the appraisal has numbers."""
    return {name for name, has in HAS.items() if has(appraisal)}


def _curve(appraisal: Appraisal, standalone: bool) -> str:
    from ml_backend.charts import Saving, Series, learning_curves

    saved = appraisal["labels_saved"]
    told = saved["state"] == "measured" and (saved["value"] or 0) > 0
    saving = (
        Saving(saved["queue_labels"], saved["random_labels"], saved["accuracy"]) if told else None
    )
    names = (("queue", "this queue"), ("random", "random order"))
    series = [
        Series(said, [(p["labels"], p["value"], p["low"], p["high"]) for p in points])
        for name, said in names
        if (points := appraisal["curve"][name])
    ]
    return learning_curves(
        series,
        "labels that the model learned from",
        "accuracy on held-out labels",
        title="Accuracy against labels",
        saving=saving,
        standalone=standalone,
    )


def _balance(appraisal: Appraisal, standalone: bool) -> str:
    from ml_backend.charts import Bars, bars

    rows = busiest(appraisal["per_class"])
    shares = [
        Bars(said, _shares([row[key] or 0 for row in rows], appraisal["per_class"], key))
        for key, said in (("labels", "of the labels"), ("pool_predicted", "of the pool, predicted"))
    ]
    return bars(
        [row["class"] for row in rows],
        shares,
        "share",
        title="Classes among the labels and in the pool",
        percent=True,
        standalone=standalone,
    )


def busiest(per_class: Sequence[Appraisal]) -> list[Appraisal]:
    """Return the classes that a chart has room for: those with most labels, in their order."""
    ranked = sorted(per_class, key=lambda row: -(row["labels"] + (row["pool_predicted"] or 0)))
    chosen = {row["class"] for row in ranked[:MOST_CLASSES]}
    return [row for row in per_class if row["class"] in chosen]


def _shares(values: Sequence[float], rows: Sequence[Appraisal], key: str) -> list[float]:
    whole = sum(row[key] or 0 for row in rows) or 1
    return [value / whole for value in values]


def _confusion(appraisal: Appraisal, standalone: bool) -> str:
    from ml_backend.charts import confusion

    return confusion(appraisal["confusion"], appraisal["classes"], standalone=standalone)


def _calibration(appraisal: Appraisal, standalone: bool) -> str:
    from ml_backend.charts import reliability

    bins = [(b["confidence"], b["accuracy"], b["n"]) for b in appraisal["calibration"]["bins"]]
    return reliability(bins, standalone=standalone)


def _movement(appraisal: Appraisal, standalone: bool) -> str:
    from ml_backend.charts import movement

    points = [(point["labels"], point["kept"]) for point in appraisal["movement"]]
    return movement(points, standalone=standalone)


def _map(appraisal: Appraisal, standalone: bool) -> str:  # noqa: ARG001 - drawn by page colours
    return embedding_map(appraisal["map"]["points"], appraisal["classes"])


def embedding_map(points: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Write the map as SVG: a dot a task, whose classes say its label, answer and doubt.

    What a class looks like is the style sheet's: it colours by one of the three.
    """
    rows = {name: row for row, name in enumerate(classes)}
    dots = []
    for point in points:
        doubt = point["uncertainty"]
        marks = (
            f"l{rows[point['label']]}" if point["label"] in rows else "l-none",
            f"p{rows[point['predicted']]}" if point["predicted"] in rows else "p-none",
            "u-none" if doubt is None else f"u{min(4, int(5 * max(0.0, doubt)))}",
        )
        place = f'cx="{4 + 592 * point["x"]:.1f}" cy="{4 + 392 * point["y"]:.1f}"'
        dots.append(f'<circle class="{" ".join(marks)}" {place} data-t="{int(point["task"])}"/>')
    said = Markup("<title>{}</title>").format(
        legible(f"{len(points)} images; those that the network sees alike lie close together")
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="map" viewBox="0 0 600 400" role="img">'
        f"{said}{''.join(dots)}</svg>"
    )


def doubts_of(points: Sequence[Mapping[str, Any]], limit: int = 100) -> list[Mapping[str, Any]]:
    """Return the points that the model doubts most, for the map's table."""
    known = [point for point in points if point["uncertainty"] is not None]
    return sorted(known, key=lambda point: -point["uncertainty"])[:limit]


DRAWINGS: dict[str, Callable[[Appraisal, bool], str]] = {
    "curve": _curve,
    "balance": _balance,
    "confusion": _confusion,
    "calibration": _calibration,
    "movement": _movement,
    "map": _map,
}
HAS: dict[str, Callable[[Appraisal], bool]] = {
    "curve": lambda a: bool(a["curve"]["queue"] or a["curve"]["random"]),
    "balance": lambda a: any(row["labels"] for row in a["per_class"]),
    "confusion": lambda a: bool(a["confusion"]) and len(a["classes"]) <= MOST_CLASSES,
    "calibration": lambda a: bool((a["calibration"] or {}).get("bins")),
    "movement": lambda a: len(a["movement"]) > 1,
    "map": lambda a: bool((a["map"] or {}).get("points")),
}
