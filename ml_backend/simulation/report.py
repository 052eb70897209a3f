"""What a simulation leaves: results.json, results.csv, and a page that stands alone.

Knows files, charts and a template. The page loads nothing and runs nothing; whatever a class or a
file is called, it is shown as text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ml_backend.charts import Series, learning_curves
from ml_backend.charts.palette import STYLE
from ml_backend.legible import legible
from ml_backend.simulation.advice import Advice
from ml_backend.simulation.cells import Cell
from ml_backend.simulation.replay import Curve
from ml_backend.simulation.summary import Row
from ml_backend.simulation.tables import comparison_table, curve_table, labels_table

FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """A whole simulation: what was replayed, how, what came out, and what follows.

    `data` and `plan` are JSON; `notes` are sentences about the data.
    """

    data: Mapping[str, Any]
    plan: Mapping[str, Any]
    notes: tuple[str, ...]
    rows: Sequence[Row]
    advice: Advice
    curves: Mapping[Cell, Curve]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it but the single curves, as JSON. Accuracies are in [0, 1]."""
        return {
            "format": FORMAT,
            "data": dict(self.data),
            "plan": dict(self.plan),
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
            "advice": asdict(self.advice),
        }


def write(results: Results, folder: Path) -> None:
    """Write the three files, each whole or not at all."""
    _write(folder / "results.json", json.dumps(results.as_dict(), indent=1, ensure_ascii=False))
    _write(folder / "results.csv", as_csv(results))
    _write(folder / "report.html", as_html(results))


def as_csv(results: Results) -> str:
    """Return every measured accuracy, one a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["backbone", "strategy", "seed", "labels", "accuracy", "rank_s", "fit_s"])
    for cell, curve in results.curves.items():
        points = zip(curve.budgets, curve.accuracies, curve.rank_s, curve.fit_s, strict=True)
        for labels, accuracy, rank_s, fit_s in points:
            measured = [labels, f"{accuracy:.6f}", f"{rank_s:.4f}", f"{fit_s:.4f}"]
            writer.writerow([cell.backbone, cell.contender, cell.seed, *measured])
    return text.getvalue()


def as_html(results: Results) -> str:
    """Return the page."""
    environment = Environment(
        autoescape=True,
        loader=PackageLoader("ml_backend.simulation"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["legible"] = legible
    backbones = list(dict.fromkeys(row.backbone for row in results.rows))
    return environment.get_template("report.html").render(
        results=results,
        style=Markup(STYLE),  # noqa: S704 - our own text
        charts=[(name, _chart(results.rows, name)) for name in backbones],
        tables=[comparison_table(results.rows), labels_table(results.rows)],
        curves=curve_table(results.rows),
    )


def _chart(rows: Sequence[Row], backbone: str) -> Markup:
    series = [
        Series(
            row.strategy,
            [(labels, each.mean, each.low, each.high) for labels, each in row.curve],
        )
        for row in rows
        if row.backbone == backbone
    ]
    title = f"Learning curves on {backbone}"
    drawn = learning_curves(series, "labels", "accuracy", title=title, standalone=False)
    return Markup(drawn)  # noqa: S704 - written by an XML library, which escapes names


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)
