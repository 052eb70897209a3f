"""front, similar: say which tasks are wanted first."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from ml_backend.jobs.store import Store
from ml_backend.settings import Settings
from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    project_option,
    require,
    stdout,
)

ASKED = "front"


@click.command()
@project_option
@click.option("--task", "task_ids", type=click.IntRange(min=1), multiple=True, help="Task number.")
@click.option("--why", default="asked by hand", show_default=True, help="Shown as the reason.")
@click.option("--clear", is_flag=True, help="Want these tasks (or all) first no more.")
@as_json
@click.pass_obj
def front(
    shell: Shell, project_id: int, task_ids: tuple[int, ...], why: str, clear: bool, as_json: bool
) -> None:
    """Put tasks at the front of the queue, list what is there, or clear it.

    A labeled task is opened in Label Studio for one more annotator, and closed as it was when
    somebody has answered or you clear it. Whoever labeled it is not served it again, and opens it
    by its link. Tasks drawn for measuring the model keep their turn.
    """
    from ml_backend import wiring

    settings = shell.settings
    store = wiring.open_store(settings)
    require(store.get_project(project_id), f"project {project_id} is not connected here")
    if clear:
        wanted = task_ids or [record.task_id for record in store.fronts(project_id)]
        store.drop_fronts(project_id, wanted)
        store.mark_dirty(project_id, ASKED, wiring.utc_now())
    elif task_ids:
        put_to_front(store, project_id, task_ids, why)
    records = store.fronts(project_id)
    if as_json:
        print_json([dataclasses.asdict(record) for record in records])
        return
    _print_fronts(settings, store, project_id)


@click.command()
@project_option
@click.option(
    "--to", "examples", multiple=True, required=True, help="A task's number or an image file."
)
@click.option("--count", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--to-front", is_flag=True, help="Put them at the front of the queue.")
@as_json
@click.pass_obj
def similar(
    shell: Shell,
    project_id: int,
    examples: tuple[str, ...],
    count: int,
    to_front: bool,
    as_json: bool,
) -> None:
    """Find the unlabeled tasks that look most like the given ones: the way to a rare class.

    By the embeddings of the model in force. Images that are drawn for measuring are left out.
    """
    from ml_backend import wiring
    from ml_backend.searching import find_similar

    settings = shell.settings
    store = wiring.open_store(settings)
    require(store.get_project(project_id), f"project {project_id} is not connected here")
    task_ids, files = _examples(examples)
    bench = wiring.workbench_factory(settings, store)(project_id, lambda: None)
    found = find_similar(bench, task_ids, files, count)
    if to_front:
        why = f"similar to {', '.join([*map(str, task_ids), *(file.name for file in files)])}"
        put_to_front(store, project_id, [task_id for task_id, _ in found], why)
    if as_json:
        print_json([{"task": task_id, "similarity": cosine} for task_id, cosine in found])
        return
    table = Table("task", "similarity", "", box=None, pad_edge=False)
    for task_id, cosine in found:
        table.add_row(str(task_id), f"{cosine:.3f}", link(settings, project_id, task_id))
    stdout.print(table)


def put_to_front(store: Store, project_id: int, task_ids: Any, why: str) -> int:
    """Ask for tasks first; return how many are new there."""
    from ml_backend.wiring import utc_now

    return store.ask_front(project_id, list(task_ids), why, utc_now())


def link(settings: Settings, project_id: int, task_id: int) -> str:
    """Return where a task opens in Label Studio."""
    return f"{settings.links_url}/projects/{project_id}/data?task={task_id}"


def _examples(given: tuple[str, ...]) -> tuple[list[int], list[Path]]:
    """Tell tasks' numbers from files. Raises click.UsageError for what is neither."""
    task_ids = [int(each) for each in given if each.isdecimal()]
    files = [Path(each) for each in given if not each.isdecimal()]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise click.UsageError(f"--to {missing[0]}: neither a task's number nor a file")
    return task_ids, files


def _print_fronts(settings: Settings, store: Store, project_id: int) -> None:
    records = store.fronts(project_id)
    if not records:
        stdout.print(f"Nothing is at the front of project {project_id}.")
        return
    table = Table("task", "why", "", "", box=None, pad_edge=False)
    for record in records:
        opened = "open for one more" if record.found else ""
        shown = link(settings, project_id, record.task_id)
        table.add_row(str(record.task_id), escape(record.why), opened, shown)
    stdout.print(table)


COMMANDS = (front, similar)
