"""fine-tune: train a project's network, here or by the trainer, and see how far it is."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from ml_backend.errors import LeaseLost
from ml_backend.jobs.store import FineTuneRecord, Store
from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    progress_bars,
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


def _work(shell: Shell, store: Store, fine_tune_id: int) -> None:
    """Do what the trainer asked for: at low priority, and ended by SIGTERM between two batches."""
    from ml_backend.learning.memory import keep_freed_memory
    from ml_backend.wiring import processes

    os.nice(10)  # rounds and the annotators' server come first
    keep_freed_memory()
    try:
        with stopped_by_signals() as stopping:
            processes.run_fine_tune(shell.settings, store, fine_tune_id, stopping)
    except LeaseLost as error:  # cancelled meanwhile, or another process was first
        log.info("nothing to do: %s", error)


def _train_here(shell: Shell, store: Store, project_id: int) -> FineTuneRecord | None:
    """Train in this process; under torchrun all of its processes do, and rank 0 reports."""
    from ml_backend import wiring
    from ml_backend.learning.memory import keep_freed_memory
    from ml_backend.wiring import processes

    keep_freed_memory()
    with stopped_by_signals() as stopping, _torchrun(shell) as process:
        if process is not None and not process.writes:
            processes.follow_fine_tune(shell.settings, store, process, stopping)
            return None
        asked = store.ask_fine_tune(project_id, "command", wiring.utc_now())
        if process is not None:
            process.words_from_rank_0(asked.fine_tune_id)
        processes.run_fine_tune(shell.settings, store, asked.fine_tune_id, stopping, process)
    return store.fine_tune(asked.fine_tune_id)


@contextmanager
def _torchrun(shell: Shell) -> Iterator[Distributed | None]:
    """Join the processes that torchrun started, by the variables that it sets."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield None
        return
    from ml_backend.learning.distributed import Distributed
    from ml_backend.wiring.backbone_shelf import Backbones

    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    use_gpu = Backbones(shell.settings).has_gpu()
    with Distributed.join(rank, size, local, use_gpu=use_gpu) as process:
        yield process


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
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


COMMANDS = (fine_tune,)
