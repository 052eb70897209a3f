"""status, sync, why, rollback: look at a queue, renew it, explain it, take it back."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from ml_backend.appraisal_file import last_appraisal
from ml_backend.jobs.store import ConnectedProject, RoundRecord, Store
from ml_backend.settings import Settings
from scripts.commands.appraisal import headline
from scripts.commands.rounds import run_now, summary
from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    progress_bars,
    project_option,
    require,
    stdout,
)

WATCH_EVERY_S = 0.5
SHOWN_PLACES = 10


@click.command()
@click.option("--project", "project_id", type=click.IntRange(min=1), help="Only this project.")
@as_json
@click.pass_obj
def status(shell: Shell, project_id: int | None, as_json: bool) -> None:
    """Show what is connected, how far it is labeled, and what the last round did.

    Reads our own records only: it works while Label Studio is down.
    """
    from ml_backend import wiring

    store = wiring.open_store(shell.settings)
    wanted = [p for p in store.projects() if project_id in (None, p.project_id)]
    if project_id is not None:
        require(wanted or None, f"project {project_id} is not connected here")
    answer = {
        "projects": [_standing(shell.settings, store, project) for project in wanted],
        "trainers": [dataclasses.asdict(beat) for beat in store.heartbeats()],
    }
    if as_json:
        print_json(answer)
    else:
        _print_status(answer)


@click.command()
@project_option
@click.option(
    "--dry-run", is_flag=True, help="Show what would change; write nothing to Label Studio."
)
@click.option("--full", is_flag=True, help="Write the whole queue and not only its front.")
@click.option("--watch", is_flag=True, help="Then go on showing rounds as they happen.")
@as_json
@click.pass_obj
def sync(
    shell: Shell, project_id: int, dry_run: bool, full: bool, watch: bool, as_json: bool
) -> None:
    """Read the project again from Label Studio and run one round now, in this process.

    Also lets go of a queue that `rollback` holds.
    """
    from ml_backend import wiring

    settings = shell.settings
    store = wiring.open_store(settings)
    project = require(store.get_project(project_id), _not_connected(project_id))
    before = store.window(project_id, project.current_version) if project.current_version else []
    with progress_bars() as on_progress:
        done = run_now(
            settings,
            store,
            project_id,
            on_progress,
            dry_run=dry_run,
            whole=full,
            patient=True,
            release_hold=not dry_run,
        )
    answer = {**summary(done), "changes": _changes(before, [e.task_id for e in done.entries])}
    if as_json:
        print_json(answer)
    else:
        _print_sync(answer)
    if watch:
        _watch(store, project_id, done.round_id, as_json=as_json)


@click.command()
@project_option
@click.option("--task", "task_id", type=click.IntRange(min=1), required=True, help="Task number.")
@as_json
@click.pass_obj
def why(shell: Shell, project_id: int, task_id: int, as_json: bool) -> None:
    """Explain a task's place in the queue.

    Its uncertainty, the two likeliest classes, the nearest labeled neighbour, its place, and the
    model version that put it there. Exit code 1 where the last round did not rank it.
    """
    from ml_backend import wiring

    settings = shell.settings
    store = wiring.open_store(settings)
    project = require(store.get_project(project_id), _not_connected(project_id))
    answer = wiring.explain(settings, store, project, task_id)
    if as_json:
        print_json(answer)
    else:
        table = Table.grid(padding=(0, 2))
        for name, value in answer.items():
            table.add_row(name.replace("_", " "), escape(_in_words(value)))
        stdout.print(table)
    raise SystemExit(0 if answer["place"] is not None else 1)


@click.command()
@project_option
@click.option("--to", "version", help="A superseded version; default: the one before.")
@as_json
@click.pass_obj
def rollback(shell: Shell, project_id: int, version: str | None, as_json: bool) -> None:
    """Put the order of an earlier version back in force, and hold it until the next `sync`."""
    from ml_backend import connecting, wiring

    settings = shell.settings
    store = wiring.open_store(settings)
    project = require(store.get_project(project_id), _not_connected(project_id))
    now_in_force = connecting.roll_back(
        wiring.surroundings(settings, store, project_id), project, version
    )
    if as_json:
        print_json({"project": project_id, "version": now_in_force, "held": True})
    else:
        stdout.print(
            f"Project {project_id} is served by {now_in_force} again, and held there. "
            f"`active-labeler sync --project {project_id}` lets it go on."
        )


def _standing(settings: Settings, store: Store, project: ConnectedProject) -> dict[str, Any]:
    """Tell all that the admin's page tells of a project; doctor's table is asked for by itself."""
    from ml_backend.web.page_views import history
    from ml_backend.wiring import project_folder

    appraisal = last_appraisal(project_folder(settings, project.project_id))
    rounds = store.rounds(project.project_id, limit=1)
    fine_tunes = store.fine_tunes(project.project_id, limit=1)
    return {
        "project": project.project_id,
        "title": project.title,
        "classes": project.control.classes,
        "version": project.current_version,
        "held": project.held,
        "model": project.model,
        "audit_share": project.audit_share,
        "counts": dataclasses.asdict(store.counts(project.project_id)),
        "unreadable": store.unreadable(project.project_id),
        "last_round": dataclasses.asdict(rounds[0]) if rounds else None,
        "fine_tune": dataclasses.asdict(fine_tunes[0]) if fine_tunes else None,
        "appraisal": appraisal,
        "models": [dataclasses.asdict(record) for record in store.models(project.project_id)],
        "jobs": [dataclasses.asdict(record) for record in store.jobs(project.project_id)],
        "front": [dataclasses.asdict(record) for record in store.fronts(project.project_id)],
        "history": history(store, project),
    }


def _changes(before: list[int], after: list[int]) -> dict[str, Any]:
    """Compare the window in force with the new one, wanted first."""
    old = {task_id: place for place, task_id in enumerate(before)}
    new = {task_id: place for place, task_id in enumerate(after)}
    return {
        "enter": [task_id for task_id in after if task_id not in old][:50],
        "leave": [task_id for task_id in before if task_id not in new][:50],
        "moved": sum(1 for task_id in new if task_id in old and old[task_id] != new[task_id]),
        "stay": sum(1 for task_id in new if old.get(task_id) == new[task_id]),
    }


def _print_sync(answer: dict[str, Any]) -> None:
    changes = answer["changes"]
    stdout.print(
        f"round {answer['round']}: [bold]{answer['state']}[/], version {answer['version'] or '-'}; "
        f"{answer['labeled']} labeled, {answer['pool']} in the pool, "
        f"{answer['unreadable']} unreadable",
        highlight=False,
    )
    stdout.print(
        f"window: {len(changes['enter'])} enter, {len(changes['leave'])} leave, "
        f"{changes['moved']} move, {changes['stay']} stay",
        highlight=False,
    )
    stdout.print(f"next tasks: {answer['front'][:SHOWN_PLACES]}", highlight=False)


def _print_status(answer: dict[str, Any]) -> None:
    if not answer["projects"]:
        stdout.print("Nothing is connected. See active-labeler connect --help.")
    for standing in answer["projects"]:
        counts, last = standing["counts"], standing["last_round"]
        held = " [yellow](held)[/]" if standing["held"] else ""
        stdout.print(
            f"[bold]{standing['project']} {escape(standing['title'])}[/]: "
            f"{counts['labeled']} of {counts['tasks']} labeled, "
            f"{counts['unreadable']} unreadable, {counts['waiting']} events waiting; "
            f"version {standing['version'] or '-'}{held}, "
            f"model {standing['model'] or 'as configured'}",
            highlight=False,
        )
        if last:
            stdout.print(f"  last round {_ago(last['started_at'])}: {_round_line(last)}")
        if standing["appraisal"]:
            stdout.print(f"  {escape(headline(standing['appraisal']))}", highlight=False)
        if standing["fine_tune"]:
            stdout.print(f"  {_fine_tune_line(standing['fine_tune'])}", highlight=False)
    for beat in answer["trainers"]:
        stdout.print(f"trainer {beat['owner']}: {beat['doing']}, seen {_ago(beat['seen_at'])}")
    if answer["projects"] and not answer["trainers"]:
        stdout.print("[yellow]No trainer has ever run: start active-labeler train.[/]")


def _watch(store: Store, project_id: int, after_round: int, *, as_json: bool) -> None:
    shown = after_round
    while True:
        newer = [r for r in store.rounds(project_id, limit=20) if r.round_id > shown]
        for record in sorted(newer, key=lambda r: r.round_id):
            if record.state == "running":
                break
            _print_round(record, as_json=as_json)
            shown = record.round_id
        time.sleep(WATCH_EVERY_S)


def _print_round(record: RoundRecord, *, as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(record))
    else:
        stdout.print(f"{record.started_at:%H:%M:%S} {_round_line(dataclasses.asdict(record))}")


def _round_line(record: dict[str, Any]) -> str:
    report = record["report"]
    if report.get("error"):
        return f"round {record['round_id']}: [red]{record['state']}[/]: {escape(report['error'])}"
    seconds = sum(report.get("timings_s", {}).values())
    shown = _accuracy(report)
    labeled = report.get("labeled", "?")
    return (
        f"round {record['round_id']}: {record['state']}, {labeled} labeled{shown}, {seconds:.1f} s"
    )


def _accuracy(report: dict[str, Any]) -> str:
    """Say how good the head is: on the holdout where it has labels, else out of fold."""
    if report.get("holdout_accuracy") is not None:
        low, high = report["holdout_interval"]
        return f", holdout accuracy {report['holdout_accuracy']:.2f} ({low:.2f} to {high:.2f})"
    accuracy = report.get("oof_accuracy")
    return "" if accuracy is None else f", out-of-fold accuracy {accuracy:.2f}"


def _fine_tune_line(record: dict[str, Any]) -> str:
    progress, outcome = record["progress"], record["outcome"]
    said = f"fine-tune {record['fine_tune_id']}: {record['state']}"
    if record["state"] == "training" and "epoch" in progress:
        said += (
            f", epoch {progress['epoch']} of {progress['epochs']}, loss "
            f"{progress['train_loss']:.3f}, {progress['eta_s']:.0f} s to go"
        )
    elif record["finished_at"] is None and "doing" in progress:
        said += f", {progress['doing']}"
    reason = (outcome.get("verdict") or {}).get("reason") or outcome.get("error")
    return f"{said}. {escape(str(reason))}" if reason else said


def _ago(then: datetime) -> str:
    return f"{(datetime.now(UTC) - then).total_seconds():.0f} s ago"


def _in_words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else str(value)


def _not_connected(project_id: int) -> str:
    return f"project {project_id} is not connected here: see active-labeler connect --help"


COMMANDS = (status, sync, why, rollback)
