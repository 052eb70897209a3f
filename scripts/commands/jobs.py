"""job: how the trainer starts what was asked of it, in a process of its own."""

from __future__ import annotations

import logging
import os

import click

from ml_backend.errors import LeaseLost
from scripts.commands.fine_tune import stopped_by_signals
from scripts.commands.shell import Shell

log = logging.getLogger(__name__)


@click.command(hidden=True)
@click.option("--run", "job_id", type=click.IntRange(min=1), required=True)
@click.pass_obj
def job(shell: Shell, job_id: int) -> None:
    """Work on a job at low priority; SIGTERM gives it back."""
    from ml_backend import wiring
    from ml_backend.wiring import processes

    os.nice(10)  # rounds and the annotators' server come first
    store = wiring.open_store(shell.settings)
    try:
        with stopped_by_signals() as stopping:
            processes.run_job(shell.settings, store, job_id, stopping)
    except LeaseLost as error:  # another process was first
        log.info("nothing to do: %s", error)


COMMANDS = (job,)
