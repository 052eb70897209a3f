"""models: look after the networks that came of a project's fine-tunes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

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


@click.group()
def models() -> None:
    """List, compare, promote, roll back and export the models of a project."""


@models.command("list")
@project_option
@as_json
@click.pass_obj
def list_models(shell: Shell, project_id: int, as_json: bool) -> None:
    """List the models, newest last, with what each was worth on the holdout of its time."""
    rows = _desk(shell, project_id).rows()
    if as_json:
        print_json(rows)
        return
    table = Table("model", "state", "trained on", "holdout accuracy", "", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            escape(row["model"]),
            row["state"],
            str(row["trained_on"] or "-"),
            _share(row["accuracy"]),
            escape(row["note"]),
        )
    stdout.print(table)


@models.command()
@project_option
@click.argument("model")
@as_json
@click.pass_obj
def show(shell: Shell, project_id: int, model: str, as_json: bool) -> None:
    """Show a model's card: where it comes from, what it learned, and how good it was."""
    card = _desk(shell, project_id).card(model)
    if as_json:
        print_json(card)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in _flat(card):
        table.add_row(name, escape(value))
    stdout.print(table)


@models.command()
@project_option
@click.argument("first")
@click.argument("second")
@as_json
@click.pass_obj
def compare(shell: Shell, project_id: int, first: str, second: str, as_json: bool) -> None:
    """Put two models side by side. Each was measured on the holdout of its own time."""
    compared = _desk(shell, project_id).compare(first, second)
    if as_json:
        print_json(compared)
        return
    table = Table("", *map(escape, compared["names"]), box=None, pad_edge=False)
    for row in compared["rows"]:
        style = "bold" if row["differs"] else None
        table.add_row(*(escape(row[name]) for name in ("what", "a", "b")), style=style)
    stdout.print(table)
    for warning in compared["warnings"]:
        stdout.print(f"[yellow]{escape(warning)}[/]")


@models.command()
@project_option
@click.argument("model")
@as_json
@click.pass_obj
def promote(shell: Shell, project_id: int, model: str, as_json: bool) -> None:
    """Put a model in force, whatever its test said: your decision is noted as such.

    Embeds the pool by it first; the queue goes on as it is until then.
    """
    _put_in_force(shell, project_id, model, "promoted by hand", as_json=as_json)


@models.command("rollback")
@project_option
@click.option("--to", "model", help="A model of the list; default: the one in force before.")
@as_json
@click.pass_obj
def roll_back(shell: Shell, project_id: int, model: str | None, as_json: bool) -> None:
    """Put the model before back in force, and the queue in its order."""
    before = model or _desk(shell, project_id).before()
    _put_in_force(shell, project_id, before, "rolled back by hand", as_json=as_json)


@models.command()
@project_option
@click.argument("model", default="current")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), required=True, help="File to write."
)
@click.option(
    "--format", "form", type=click.Choice(["torchscript", "pt2", "onnx"]), default="torchscript"
)
@as_json
@click.pass_obj
def export(
    shell: Shell, project_id: int, model: str, target: Path, form: str, as_json: bool
) -> None:
    """Write one file that turns pictures into class probabilities, checked against the model.

    MODEL is a name of the list, or `current`. The head is the last round's where that model made
    it, else one fitted now.
    """
    told = _desk(shell, project_id).export(model, target, form)
    if as_json:
        print_json(told)
    else:
        stdout.print(
            f"{target}: {model}, outputs agree to {told['max_difference']:.1e}", highlight=False
        )


def _put_in_force(shell: Shell, project_id: int, model: str, why: str, *, as_json: bool) -> None:
    desk = _desk(shell, project_id)
    with progress_bars() as on_progress:
        desk.put_in_force(model, why, on_progress)
        done = run_now(
            shell.settings, desk.store, project_id, on_progress, patient=True, release_hold=True
        )
    if as_json:
        print_json({"model": model, "round": summary(done)})
    else:
        stdout.print(f"{model} orders project {project_id}: {done.state}, version {done.version}")


def _desk(shell: Shell, project_id: int) -> Any:
    """Return what the models' commands work with (a `model_desk.ModelDesk`)."""
    from ml_backend import wiring
    from ml_backend.wiring.model_desk import ModelDesk

    settings = shell.settings
    store = wiring.open_store(settings)
    require(store.get_project(project_id), f"project {project_id} is not connected here")
    return ModelDesk(settings, store, project_id)


def _share(accuracy: Mapping[str, Any] | None) -> str:
    if not accuracy or accuracy.get("value") is None:
        return "-"
    return f"{accuracy['value']:.1%} ({accuracy['low']:.1%} to {accuracy['high']:.1%})"


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield what a card says, one line each; long lists by their length."""
    for name, value in facts.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name} ")
        elif isinstance(value, list | tuple) and len(str(value)) > 100:
            yield label, f"{len(value)} entries (--json shows them)"
        elif value not in (None, "", {}, []):
            yield label, f"{value:.4g}" if isinstance(value, float) else str(value)


COMMANDS = (models,)
