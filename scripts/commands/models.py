"""fine-tune and models: train a project's network, and look after the models that came of it."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from ml_backend.errors import LeaseLost
from ml_backend.jobs.store import FineTuneRecord, Store
from scripts.commands.rounds import run_now, summary
from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    progress_bars,
    project_option,
    require,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from ml_backend.learning.distributed import Distributed

WATCH_EVERY_S = 0.5

log = logging.getLogger(__name__)


@click.command("fine-tune")
@click.option("--project", "project_id", type=click.IntRange(min=1), help="Project number.")
@click.option("--cancel", is_flag=True, help="Stop the one that waits or is at work.")
@click.option("--no-wait", is_flag=True, help="Ask for it and return.")
@click.option(
    "--here", is_flag=True, help="Train in this process, where no trainer runs or under torchrun."
)
@click.option("--run", "fine_tune_id", type=click.IntRange(min=1), hidden=True)
@as_json
@click.pass_obj
def fine_tune(
    shell: Shell,
    project_id: int | None,
    cancel: bool,
    no_wait: bool,
    here: bool,
    fine_tune_id: int | None,
    as_json: bool,
) -> None:
    """Train the network itself on the project's labels, and promote it if it proves better.

    The trainer does it in a process of its own while the queue goes on; this command shows how far
    it is, and may be left with Ctrl-C. A new model orders the queue only if a test on labels that
    neither model was trained on supports it. With several GPUs:

    \b
      torchrun --nproc-per-node 2 -m scripts.active_labeler fine-tune --project 7 --here

    Exit code 1 where it failed or was cancelled; a model that was refused ends with 0.
    """
    from ml_backend import wiring

    settings = shell.settings
    store = wiring.open_store(settings)
    if fine_tune_id is not None:  # how the trainer starts it
        _work(shell, store, fine_tune_id)
        return
    if project_id is None:
        raise click.UsageError("say which: --project NUMBER")
    require(store.get_project(project_id), f"project {project_id} is not connected here")
    now = wiring.utc_now()
    if cancel:
        _tell(store.cancel_fine_tune(project_id, now), project_id, as_json=as_json)
        return
    if here:
        asked = _train_here(shell, store, project_id)
    else:
        asked = store.ask_fine_tune(project_id, "command", now)
        if not no_wait:
            _warn_without_trainer(store)
            asked = _watch(store, asked.fine_tune_id)
    if asked is not None:
        _tell(asked, project_id, as_json=as_json)
        raise SystemExit(int(asked.state in ("failed", "cancelled")))


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
    from ml_backend.model_desk import ModelDesk

    settings = shell.settings
    store = wiring.open_store(settings)
    require(store.get_project(project_id), f"project {project_id} is not connected here")
    return ModelDesk(settings, store, project_id)


def _work(shell: Shell, store: Store, fine_tune_id: int) -> None:
    """Do what the trainer asked for: at low priority, and ended by SIGTERM between two batches."""
    from ml_backend import wiring

    os.nice(10)  # rounds and the annotators' server come first
    try:
        with _stopping() as stopping:
            wiring.run_fine_tune(shell.settings, store, fine_tune_id, stopping)
    except LeaseLost as error:  # cancelled meanwhile, or another process was first
        log.info("nothing to do: %s", error)


def _train_here(shell: Shell, store: Store, project_id: int) -> FineTuneRecord | None:
    """Train in this process; under torchrun all of its processes do, and rank 0 reports."""
    from ml_backend import wiring

    with _stopping() as stopping, _torchrun(shell) as process:
        if process is not None and not process.writes:
            wiring.follow_fine_tune(shell.settings, store, process, stopping)
            return None
        asked = store.ask_fine_tune(project_id, "command", wiring.utc_now())
        if process is not None:
            process.words_from_rank_0(asked.fine_tune_id)
        wiring.run_fine_tune(shell.settings, store, asked.fine_tune_id, stopping, process)
    return store.fine_tune(asked.fine_tune_id)


@contextmanager
def _torchrun(shell: Shell) -> Iterator[Distributed | None]:
    """Join the processes that torchrun started, by the variables that it sets."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield None
        return
    from ml_backend.backbone_shelf import Backbones
    from ml_backend.learning.distributed import Distributed

    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    use_gpu = Backbones(shell.settings).has_gpu()
    with Distributed.join(rank, size, local, use_gpu=use_gpu) as process:
        yield process


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Turn SIGTERM and SIGINT into an event, so that what is at work ends between two batches."""
    stopping = threading.Event()
    before = {
        number: signal.signal(number, lambda _signal, _frame: stopping.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(store: Store, fine_tune_id: int) -> FineTuneRecord:
    """Show how far it is until it ends."""
    with progress_bars() as on_progress:
        while (record := store.fine_tune(fine_tune_id)).is_open:
            if "step" in record.progress:
                on_progress(_doing(record), record.progress["step"], record.progress["steps"])
            time.sleep(WATCH_EVERY_S)
    return record


def _doing(record: FineTuneRecord) -> str:
    if record.state == "training":
        return "training"
    return str(record.progress.get("doing", record.state))


def _warn_without_trainer(store: Store) -> None:
    from ml_backend.wiring import utc_now

    beats = store.heartbeats()
    if not beats or (utc_now() - beats[0].seen_at).total_seconds() > 60:
        stderr.print(
            "[yellow]No trainer is running, so this waits for one. Start `active-labeler train`, "
            "or use --here.[/]"
        )


def _tell(record: FineTuneRecord | None, project_id: int, *, as_json: bool) -> None:
    if record is None:
        require(None, f"project {project_id} has no fine-tune that waits or is at work")
    assert record is not None
    if as_json:
        print_json(dataclasses.asdict(record))
        return
    verdict = record.outcome.get("verdict") or {}
    reason = verdict.get("reason") or record.outcome.get("error") or ""
    stdout.print(f"fine-tune {record.fine_tune_id}: [bold]{record.state}[/]", highlight=False)
    if reason:
        stdout.print(escape(str(reason)), highlight=False)


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


COMMANDS = (fine_tune, models)
