"""Starts a run, in Label Studio or without one, and brings it to its end.

Knows the order in which things begin and end. What happens in between, `live` and `offline` tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
from rich.console import Console

from ml_backend.wiring.imports import open_source
from scripts.child_processes import one_at_a_time, sigterm_as_ctrl_c
from scripts.local_label_studio import LabelStudioDidNotStart, LabelStudioNotInstalled
from scripts.run import live, offline
from scripts.run.data import open_data
from scripts.run.finish import measure_on_test_set
from scripts.run.guardian import guardian
from scripts.run.in_force import Run, settings_of
from scripts.run.live import LiveRun, Oracle
from scripts.run.memory import recall
from scripts.run.paper import PROJECT_ID
from scripts.run.servers import Servers, require_token
from scripts.run.show import Board

WAIT_FOR_LOCK_S = 40.0  # for what a killed run left behind to end


@dataclass(frozen=True)
class Ending:
    """How a run ended: why, what was exported, what the model is worth on the test set."""

    why: str
    exported: dict[str, Any]
    tested: dict[str, Any] | None = None


def run_offline(run: Run, console: Console) -> Ending:
    """Label with the source's own labels, without a Label Studio."""
    with one_at_a_time(run.folder, wait_s=WAIT_FOR_LOCK_S), sigterm_as_ctrl_c():
        data = open_data(run, partial(open_source, settings_of(run)))
        made = offline.prepare(run, data.pool, recall(run.folder), console)
        with Board(console, run.config.labeling) as board:
            why = offline.play(made, board.show)
        exported = offline.finish(made)
        if data.test is None:
            return Ending(why, exported)
        backbone, number = made.backbone(), PROJECT_ID
        tested = measure_on_test_set(made.settings, number, backbone, data.test, run.folder)
    return Ending(why, exported, tested)


def run_live(run: Run, console: Console, oracle: Oracle | None) -> Ending:
    """Label in Label Studio, by people or by an oracle."""
    with opened(run, console, oracle=oracle is not None) as made:
        live.announce(made, console, oracle=oracle is not None)
        return ended(made, live.label(made, run.config.labeling, console, oracle))


@contextmanager
def opened(run: Run, console: Console, *, oracle: bool) -> Iterator[LiveRun]:
    """Have everything up while the block runs. An oracle hides known labels from the project."""
    require_token(run, oracle=oracle)
    data = open_data(run, partial(open_source, settings_of(run)))
    run.folder.mkdir(parents=True, exist_ok=True)
    with (
        one_at_a_time(run.folder, wait_s=WAIT_FOR_LOCK_S) as lock,
        sigterm_as_ctrl_c(),
        guardian(lock) as watched,
        ExitStack() as everything,
    ):
        root, memory = live.document_root_of(run), recall(run.folder)
        servers = Servers(run, memory, everything, watched, lock, console, root)
        try:
            yield live.begin(run, data, servers, console, hide=oracle)
        except KeyboardInterrupt:
            console.print("\nStopping ...")
            raise
        except (LabelStudioNotInstalled, LabelStudioDidNotStart) as error:
            raise click.ClickException(str(error)) from error


def ended(made: LiveRun, why: str) -> Ending:
    """Bring a run to its end: the last round, the export, and the measuring on its test set."""
    exported = live.finish(made)
    if made.data.test is None:
        return Ending(why, exported)
    backbone, number = made.bench().backbone(), made.project_id
    tested = measure_on_test_set(made.settings, number, backbone, made.data.test, made.run.folder)
    return Ending(why, exported, tested)
