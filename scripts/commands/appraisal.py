"""appraise, suspects: what the labels say about the model, the queue and themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from scripts.commands.front import link, put_to_front
from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    project_option,
    require,
    stdout,
)


@click.command()
@project_option
@as_json
@click.pass_obj
def appraise(shell: Shell, project_id: int, as_json: bool) -> None:
    """Appraise the project's labels now: accuracy, labels saved, suspects, when to stop.

    The trainer does it by itself whenever there are new labels and nobody is at work.
    """
    from ml_backend import wiring
    from ml_backend.wiring import processes

    settings = shell.settings
    store = wiring.open_store(settings)
    require(store.get_project(project_id), f"project {project_id} is not connected here")
    found = processes.appraise_now(settings, store, project_id)
    if as_json:
        print_json(found)
        return
    for line in summary(found):
        stdout.print(escape(line), highlight=False)


@click.command()
@project_option
@click.option(
    "--second-opinions",
    is_flag=True,
    help="Labeled tasks of which another label is worth more than a new task's.",
)
@click.option(
    "--to-front",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=10,
    help="Put the first K of them at the front, for another annotator. [10 without a number]",
)
@as_json
@click.pass_obj
def suspects(
    shell: Shell, project_id: int, second_opinions: bool, to_front: int | None, as_json: bool
) -> None:
    """List labels that are probably wrong, as the last appraisal found them, worst first."""
    from ml_backend import wiring
    from ml_backend.appraisal_file import last_appraisal

    settings = shell.settings
    store = wiring.open_store(settings)
    require(store.get_project(project_id), f"project {project_id} is not connected here")
    last = require(
        last_appraisal(wiring.project_folder(settings, project_id)),
        f"project {project_id} was not appraised yet: "
        f"active-labeler appraise --project {project_id}",
    )
    kind = "second_opinions" if second_opinions else "suspects"
    rows = last[kind]
    if to_front:
        why = "a second opinion is worth more" if second_opinions else "its label looks wrong"
        put_to_front(store, project_id, [row["task"] for row in rows[:to_front]], why)
    if as_json:
        print_json(rows)
        return
    table = Table("task", "label", "", "", box=None, pad_edge=False)
    for row in rows:
        shown = (row["label"], row["sentence"], link(settings, project_id, row["task"]))
        table.add_row(str(row["task"]), *map(escape, shown))
    stdout.print(table if rows else "None was found.")


def summary(found: Mapping[str, Any]) -> list[str]:
    """Say in a few lines what an appraisal found."""
    return [
        headline(found),
        found["advice"]["sentence"],
        f"{len(found['suspects'])} labels look wrong, "
        f"{len(found['disagreements'])} tasks have annotators who disagree.",
    ]


def headline(found: Mapping[str, Any]) -> str:
    """Say how good the model is and what the queue saved, in one line."""
    said = found["labels_saved"]["sentence"]
    accuracy = found["accuracy"]
    if accuracy is None:
        return f"Accuracy is not known yet. {said}"
    return (
        f"Accuracy {accuracy['value']:.1%} ({accuracy['low']:.1%} to {accuracy['high']:.1%}, on "
        f"{accuracy['n']} held out). {said}"
    )


COMMANDS = (appraise, suspects)
