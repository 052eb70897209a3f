"""What each page tells, as plain data for its template. Knows the store and the appraisal's keys.

Reads nothing that grows with the project but counts: a page of 100,000 tasks opens like one of 100.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from ml_backend.jobs.store import ConnectedProject, ProjectCounts, RoundRecord, Store
from ml_backend.web.page_charts import available, doubts_of
from ml_backend.web.services import WebServices
from ml_backend.web.status import problems_of

SHOWN_ROUNDS = 30
SHOWN_CONFUSIONS = 20
COMMANDS = "active-labeler {} --project {}"


@dataclass(frozen=True)
class Paper:
    """How a project's sections show pictures: by address on a page, inside the file in a report.

    `picture` gives a task's thumbnail or None, `chart` an `<img>` or an `<svg>`. Links lead to
    Label Studio at `links_url`.
    """

    project: ConnectedProject
    links_url: str
    now: datetime
    picture: Callable[[int], str | None]
    chart: Callable[[str, str], Markup]
    alive: bool = True  # a page, with buttons and scripts; False: a report

    def link(self, task_id: int) -> str:
        """Give the address at which Label Studio shows a task."""
        url = self.links_url
        base = url if url.startswith(("http://", "https://")) else "about:invalid#"
        return f"{base}/projects/{self.project.project_id}/data?task={int(task_id)}"

    @property
    def labeling(self) -> str:
        """The address of the project in Label Studio."""
        return self.link(0).partition("?")[0]


def overview(services: WebServices) -> dict[str, Any]:
    """Tell of all projects, a card each."""
    cards = [
        {
            "project": project,
            "counts": services.store.counts(project.project_id),
            "appraisal": services.appraisal(project.project_id),
        }
        for project in services.store.projects()
    ]
    return {"cards": cards, "problems": problems_of(services)}


def standing(services: WebServices, project: ConnectedProject) -> dict[str, Any]:
    """Tell how one project stands: counts, the last round, the appraisal and what to do next."""
    counts = services.store.counts(project.project_id)
    appraisal = services.appraisal(project.project_id)
    rounds = services.store.rounds(project.project_id, limit=1)
    problems = problems_of(services)
    found = appraisal_facts(appraisal)
    return {
        "counts": counts,
        "appraisal": appraisal,
        "last_round": rounds[0] if rounds else None,
        "problems": problems,
        "next_steps": next_steps(project, counts, appraisal, rounds, problems),
        "since": labels_since(counts, appraisal),
        **found,
    }


def appraisal_facts(appraisal: Mapping[str, Any] | None) -> dict[str, Any]:
    """Work out what templates would have to: which charts there are, what is confused with what."""
    if appraisal is None:
        return {"charts": set(), "confusions": [], "doubts": [], "curve_rows": []}
    return {
        "charts": available(appraisal),
        "confusions": _confusions(appraisal),
        "doubts": doubts_of((appraisal["map"] or {}).get("points", ())),
        "curve_rows": _curve_rows(appraisal["curve"]),
    }


def next_steps(
    project: ConnectedProject,
    counts: ProjectCounts,
    appraisal: Mapping[str, Any] | None,
    rounds: Sequence[RoundRecord],
    problems: Sequence[str],
) -> list[str]:
    """Say what somebody should do now, the most pressing first; empty where nothing is."""
    steps = list(problems)
    if project.held:
        sync = COMMANDS.format("sync", project.project_id)
        steps.append(f"A rollback holds the queue. `{sync}` lets it go.")
    if not counts.tasks:
        steps.append("The project has no task yet: import images in Label Studio.")
    elif not counts.labeled:
        steps.append(
            "Nothing is labeled yet: open the project in Label Studio and press Label All Tasks. "
            "After the first few labels of two classes the queue follows the model."
        )
    elif not rounds:
        steps.append("No round has run yet. It starts by itself when the trainer runs.")
    if counts.labeled and appraisal is not None and not appraisal["counts"]["held_out"]:
        steps.append(_without_audit(project))
    if counts.labeled and appraisal is None and rounds:
        steps.append(
            "No appraisal yet. The trainer makes one when nobody has annotated for a moment; "
            f"`{COMMANDS.format('appraise', project.project_id)}` makes one now."
        )
    return steps


def _without_audit(project: ConnectedProject) -> str:
    if not project.audit_share:
        return (
            "This project has no audit, so nothing can be measured honestly. Detach it, set "
            "ACTIVE_LABELER_AUDIT_SHARE and connect it again."
        )
    return (
        f"No audit task is labeled yet. One task in {1 / project.audit_share:.0f} is drawn at "
        "random to measure the model on; go on labeling and they come."
    )


def labels_since(counts: ProjectCounts, appraisal: Mapping[str, Any] | None) -> int:
    """Count the labels that came after the appraisal."""
    known = 0 if appraisal is None else int(appraisal["counts"]["labeled"] or 0)
    return max(0, counts.labeled - known)


def _confusions(appraisal: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List what is taken for what, the most frequent first."""
    matrix, classes = appraisal["confusion"] or [], appraisal["classes"]
    cells = [
        {"truth": classes[row], "answer": classes[column], "number": number, "of": sum(numbers)}
        for row, numbers in enumerate(matrix)
        for column, number in enumerate(numbers)
        if number and row != column
    ]
    return sorted(cells, key=lambda cell: -cell["number"])[:SHOWN_CONFUSIONS]


def _curve_rows(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Put both curves into one table by their number of labels."""
    by_labels: dict[int, dict[str, Any]] = {}
    for name in ("queue", "random"):
        for point in curve[name]:
            by_labels.setdefault(point["labels"], {"labels": point["labels"]})[name] = point
    return [by_labels[labels] for labels in sorted(by_labels)]


def doubtful(services: WebServices, project: ConnectedProject) -> dict[str, Any]:
    """Tell which labels to look at again, and what people have put at the front."""
    appraisal = services.appraisal(project.project_id)
    fronts = services.store.fronts(project.project_id)
    return {
        "appraisal": appraisal,
        "fronts": fronts,
        "at_front": {front.task_id for front in fronts},
    }


def models_of(services: WebServices, project: ConnectedProject) -> dict[str, Any]:
    """Tell which models there are, what is at work, and what changed the queue."""
    assert services.pages is not None
    rows = services.pages.models(project.project_id)
    before = [row for row in rows if row["state"] == "retired"] or project.model
    return {
        "rows": rows,
        "can_go_back": bool(before),
        **work_of(services.store, project),
        "history": history(services.store, project),
    }


def work_of(store: Store, project: ConnectedProject) -> dict[str, Any]:
    """Tell what is at work for a project, or waits to be."""
    fine_tunes = store.fine_tunes(project.project_id, limit=5)
    jobs = store.jobs(project.project_id, limit=10)
    return {
        "jobs": jobs,
        "fine_tunes": fine_tunes,
        "fine_tune": fine_tunes[0] if fine_tunes and fine_tunes[0].is_open else None,
        "at_work": any(job.is_open for job in jobs) or any(each.is_open for each in fine_tunes),
    }


def history(store: Store, project: ConnectedProject) -> list[dict[str, Any]]:
    """Tell what changed the queue and when: published orders and models, newest first."""
    states = {version.version: version.state for version in store.versions(project.project_id)}
    orders = [
        {
            "at": record.finished_at or record.started_at,
            "what": "order",
            "name": record.model_version,
            "state": states.get(record.model_version or "", ""),
            "labels": record.report.get("labeled"),
            "kept": record.report.get("kept"),
            "note": record.report.get("error", ""),
        }
        for record in store.rounds(project.project_id, limit=4 * SHOWN_ROUNDS)
        if record.state in ("published", "failed")
    ]
    models = [
        {"at": each.changed_at, "what": "model", "name": each.model, "state": each.state}
        | {"labels": None, "kept": None, "note": each.note}
        for each in store.models(project.project_id)
    ]
    return sorted([*orders, *models], key=lambda row: row["at"], reverse=True)[:SHOWN_ROUNDS]


def findings_of(services: WebServices, project: ConnectedProject) -> dict[str, Any]:
    """Run doctor's checks; asks Label Studio."""
    assert services.pages is not None
    findings = services.pages.doctor(project.project_id)
    return {"findings": [dataclasses.asdict(finding) for finding in findings]}


def address_of(project: ConnectedProject, *parts: str) -> str:
    """Give the address of one of a project's pages."""
    quoted = "/".join(quote(part, safe="") for part in parts)
    return f"/ui/projects/{project.project_id}/{quoted}"
