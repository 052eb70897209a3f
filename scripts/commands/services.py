"""serve and train: the two processes of the backend."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

import click

from scripts.commands.shell import Shell


@click.command()
@click.option("--descriptor", type=int, hidden=True, help="A socket that listens already.")
@click.pass_obj
def serve(shell: Shell, descriptor: int | None) -> None:
    """Serve the backend over HTTP: /webhook, /predict, /setup, /health, /metrics, /status.

    This is what Label Studio talks to. It needs no GPU and trains nothing: `train` does.
    """
    settings = shell.settings
    os.environ.update(shell.environment)
    command = [sys.executable, "-m", "gunicorn", "--config", "python:ml_backend.web.gunicorn_conf"]
    address = f"{settings.host}:{settings.port}" if descriptor is None else f"fd://{descriptor}"
    command += ["--bind", address, "ml_backend.web.wsgi:app"]
    os.execv(sys.executable, command)  # noqa: S606 - no shell, our own words


@click.command()
@click.pass_obj
def train(shell: Shell) -> None:
    """Run rounds: learn from new annotations and reorder the labeling queues.

    One is enough for all projects. It may be stopped or killed at any time; it goes on where it
    was. A second one takes over when the first is gone.
    """
    from ml_backend import wiring  # torch takes seconds to import: not for --help

    settings = shell.settings
    os.environ.update(shell.environment)  # for the processes that fine-tune
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    wiring.trainer(settings, wiring.open_store(settings), stopping).run_forever()


COMMANDS = (serve, train)
