"""A project's page as one file that needs nothing else: for a mail, a wiki, or a year later.

Knows Jinja and the page's own sections; no Flask, no server, no script. Charts stand in it as SVG
and pictures as data, so it opens without a network, and shows what was known on its day.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from ml_backend.jobs.store import ConnectedProject, ProjectCounts
from ml_backend.web.page_charts import Charts
from ml_backend.web.page_views import Paper, appraisal_facts, labels_since
from ml_backend.web.page_words import add_words

SHOWN_SUSPECTS = 40


def pictured(appraisal: Mapping[str, Any] | None) -> list[int]:
    """Name the tasks whose pictures a report shows, each once."""
    if appraisal is None:
        return []
    preview, suspects = appraisal["queue_preview"], appraisal["suspects"][:SHOWN_SUSPECTS]
    nearest = [each["nearest"]["task"] for each in preview if each["nearest"]]
    return list(dict.fromkeys([*(each["task"] for each in (*preview, *suspects)), *nearest]))


def render_report(
    project: ConnectedProject,
    counts: ProjectCounts,
    appraisal: Mapping[str, Any] | None,
    pictures: Mapping[int, bytes],
    *,
    now: datetime,
    links_url: str,
    version: str,
    notes: Sequence[str] = (),
) -> str:
    """Write the report as HTML.

    `pictures` holds JPEGs by task, as many as could be had; `notes` say what is missing, and why.
    """
    environment = Environment(
        loader=PackageLoader("ml_backend.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    add_words(environment)
    charts, found = Charts(), appraisal_facts(appraisal)

    def picture(task_id: int) -> str | None:
        if task_id not in pictures:
            return None
        return f"data:image/jpeg;base64,{b64encode(pictures[task_id]).decode()}"

    def chart(name: str, _says: str) -> Markup:
        assert appraisal is not None
        # Our own drawing: what strangers named in it was escaped where it was drawn.
        return Markup(charts.draw(project.project_id, name, appraisal, standalone=False))  # noqa: S704

    return environment.get_template("report.html").render(
        project=project,
        paper=Paper(project, links_url, now, picture, chart, alive=False),
        counts=counts,
        appraisal=appraisal,
        since=labels_since(counts, appraisal),
        map_svg=chart("map", "") if "map" in found["charts"] else None,
        css=Markup(_style()),  # noqa: S704 - a file of ours
        now=now,
        version=version,
        notes=notes,
        shown_suspects=SHOWN_SUSPECTS,
        **found,
    )


def _style() -> str:
    return (files("ml_backend.web") / "static" / "ui.css").read_text("utf-8")
