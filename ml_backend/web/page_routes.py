"""The views of the admin's pages: each reads, hands over, and renders or goes back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request
from markupsafe import Markup
from werkzeug.exceptions import BadRequest, NotFound

from ml_backend.errors import Busy, ImageUnreadable, LabelStudioError, ProjectNotConnected
from ml_backend.jobs.store import ConnectedProject
from ml_backend.web import page_views
from ml_backend.web.page_charts import Charts, available
from ml_backend.web.page_views import Paper, address_of
from ml_backend.web.services import WebServices

MOST_AT_ONCE = 200  # tasks that one press of a button puts to the front
LONGEST_ID = 2**63 - 1
A_DAY_S = 24 * 3600
NO_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 120" role="img">'
    '<title>no picture</title><path fill="#8a93a5" fill-opacity=".18" d="M0 0h160v120H0z"/>'
    '<path d="M56 40l48 40m0-40L56 80" stroke="#8a93a5" stroke-width="4" fill="none"/></svg>'
)


def add_views(pages: Blueprint, services: WebServices) -> None:
    """Add every view that is about projects."""
    charts = Charts()
    project_of = _finder(services)

    def show(template: str, project: ConnectedProject, **facts: Any) -> str:
        paper = _paper(services, project, facts.get("appraisal"))
        return render_template(template, project=project, paper=paper, **facts)

    def projects() -> str:
        return render_template("projects.html", **page_views.overview(services))

    def project(project_id: int) -> str:
        of = project_of(project_id)
        facts = page_views.standing(services, of)
        appraisal = facts["appraisal"]
        has_map = appraisal is not None and "map" in facts["charts"]
        # Our own drawing, of numbers and of what was escaped there.
        drawn = Markup(charts.draw(project_id, "map", appraisal)) if has_map else None  # noqa: S704
        return show("project.html", of, map_svg=drawn, **facts)

    def suspects(project_id: int) -> str:
        of = project_of(project_id)
        return show("suspects.html", of, **page_views.doubtful(services, of))

    def setup(project_id: int) -> str:
        of = project_of(project_id)
        live = {"findings": None} if "live" not in request.args else {}
        return show("setup.html", of, **(live or page_views.findings_of(services, of)))

    def doctor(project_id: int) -> str:
        of = project_of(project_id)
        return render_template("_doctor.html", project=of, **page_views.findings_of(services, of))

    add_view(pages, "/", projects, "projects")
    add_view(pages, "/projects/<int:project_id>", project, "project")
    add_view(pages, "/projects/<int:project_id>/suspects", suspects, "suspects")
    add_view(pages, "/projects/<int:project_id>/setup", setup, "setup")
    add_view(pages, "/projects/<int:project_id>/setup/doctor", doctor, "doctor")
    _add_models(pages, services, project_of, show)
    _add_pictures(pages, services, charts)
    _add_buttons(pages, services, project_of)


def add_view(
    pages: Blueprint, rule: str, view: Callable[..., Any], name: str, **options: Any
) -> None:
    """Add one view, with and without a slash at its end."""
    pages.add_url_rule(rule, name, view, strict_slashes=False, **options)


def _finder(services: WebServices) -> Callable[[int], ConnectedProject]:
    def project_of(project_id: int) -> ConnectedProject:
        project = services.store.get_project(project_id) if project_id <= LONGEST_ID else None
        if project is None:
            raise ProjectNotConnected(f"Project {project_id} is not connected here.")
        return project

    return project_of


def _paper(
    services: WebServices, project: ConnectedProject, appraisal: Mapping[str, Any] | None
) -> Paper:
    assert services.pages is not None
    drawn_at = hashlib.sha256(str((appraisal or {}).get("made_at")).encode()).hexdigest()[:12]

    def chart(name: str, says: str) -> Markup:
        address = f"{address_of(project, 'charts', name)}.svg?of={drawn_at}"
        return Markup('<img class="chart" src="{}" alt="{}" loading="lazy">').format(address, says)

    return Paper(
        project=project,
        links_url=services.pages.links_url,
        now=services.clock(),
        picture=lambda task_id: f"{address_of(project, 'thumb', str(int(task_id)))}.jpg",
        chart=chart,
    )


def _add_models(
    pages: Blueprint,
    services: WebServices,
    project_of: Callable[[int], ConnectedProject],
    show: Callable[..., str],
) -> None:
    assert services.pages is not None
    desk = services.pages

    def models(project_id: int) -> str:
        of = project_of(project_id)
        return show("models.html", of, **page_views.models_of(services, of))

    def work(project_id: int) -> str:
        of = project_of(project_id)
        return render_template("_work.html", project=of, **page_views.work_of(services.store, of))

    def model(project_id: int, name: str) -> str:
        return show("model.html", project_of(project_id), card=desk.card(project_id, name))

    def compare(project_id: int) -> str:
        asked = request.args.getlist("model")
        if len(asked) != 2:
            raise BadRequest("Choose two models to compare.")
        found = desk.compare(project_id, *asked)
        return show("compare.html", project_of(project_id), found=found)

    add_view(pages, "/projects/<int:project_id>/models", models, "models")
    add_view(pages, "/projects/<int:project_id>/models/work", work, "work")
    add_view(pages, "/projects/<int:project_id>/models/compare", compare, "compare")
    add_view(pages, "/projects/<int:project_id>/models/of/<name>", model, "model")


def _add_pictures(pages: Blueprint, services: WebServices, charts: Charts) -> None:
    assert services.pages is not None
    sources = services.pages

    def chart(project_id: int, name: str) -> Response:
        appraisal = services.appraisal(project_id)
        if appraisal is None or name == "map" or name not in available(appraisal):
            raise NotFound("There is no such chart yet.")
        answer = Response(charts.draw(project_id, name, appraisal), mimetype="image/svg+xml")
        # An SVG of its own brings its colours along, and nothing else.
        answer.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return _kept(answer)

    def thumbnail(project_id: int, task_id: int) -> Response:
        try:
            return _kept(Response(sources.thumbnail(project_id, task_id), mimetype="image/jpeg"))
        except (ImageUnreadable, LabelStudioError):
            return Response(NO_PICTURE, mimetype="image/svg+xml")
        except Busy as busy:
            # No picture in it: a browser would show one, and the page's script not ask again.
            return Response(str(busy), 503, {"Retry-After": "1"}, mimetype="text/plain")
        except LookupError:
            raise NotFound("The project has no such task.") from None

    add_view(pages, "/projects/<int:project_id>/charts/<name>.svg", chart, "chart")
    add_view(pages, "/projects/<int:project_id>/thumb/<int:task_id>.jpg", thumbnail, "thumbnail")


def _kept(answer: Response) -> Response:
    answer.headers["Cache-Control"] = f"private, max-age={A_DAY_S}"
    return answer


def _add_buttons(
    pages: Blueprint, services: WebServices, project_of: Callable[[int], ConnectedProject]
) -> None:
    store, clock = services.store, services.clock

    def front(project_id: int) -> Response:
        of, tasks = project_of(project_id), _tasks()
        if request.form.get("do") == "drop":
            store.drop_fronts(project_id, tasks)
            store.mark_dirty(project_id, "front", clock())
            flash(f"{len(tasks)} taken from the front.")
        else:
            why = request.form.get("why", "")[:200] or "chosen by hand"
            came = store.ask_front(project_id, tasks, why, clock())
            flash(f"{came} put at the front of the queue; the next round serves them first.")
        return _back_to(of, "suspects")

    def ask(project_id: int) -> Response:
        of, kind = project_of(project_id), request.form.get("do", "")
        model = request.form.get("model", "")[:200]
        if kind == "promote" and not model:
            raise BadRequest("Choose a model to promote.")
        if kind not in ("promote", "rollback", "appraise"):
            raise BadRequest("There is no such button.")
        arguments = {"model": model} if kind == "promote" else {}
        number = store.ask_job(project_id, kind, arguments, clock())
        flash(f"Asked for (job {number}). The trainer does it in the background.")
        return _back_to(of, "" if kind == "appraise" else "models")

    def fine_tune(project_id: int) -> Response:
        of = project_of(project_id)
        if request.form.get("do") == "cancel":
            stopped = store.cancel_fine_tune(project_id, clock())
            flash("It stops soon." if stopped else "Nothing is at work.")
        else:
            asked = store.ask_fine_tune(project_id, "page", clock())
            flash(f"Fine-tune {asked.fine_tune_id} is asked for; the trainer starts it.")
        return _back_to(of, "models")

    for rule, view in (("front", front), ("jobs", ask), ("fine-tune", fine_tune)):
        add_view(pages, f"/projects/<int:project_id>/{rule}", view, rule, methods=["POST"])


def _tasks() -> list[int]:
    asked = request.form.getlist("task")[: MOST_AT_ONCE + 1]
    tasks = [int(each) for each in asked if each.isascii() and each.isdecimal() and len(each) < 19]
    if not tasks or len(tasks) != len(asked) or len(tasks) > MOST_AT_ONCE:
        raise BadRequest(f"Choose between 1 and {MOST_AT_ONCE} tasks.")
    return tasks


def _back_to(project: ConnectedProject, page: str) -> Response:
    answer = redirect(address_of(project, page), 303)
    assert isinstance(answer, Response)
    return answer
