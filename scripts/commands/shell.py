"""What the subcommands share: settings from flags, printing for people or as JSON, errors."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ml_backend.errors import ConfigurationError
from ml_backend.settings import CONFIG_FILE_VARIABLE, Settings, load_settings

# Progress, logs and errors go to stderr, so that stdout is the answer alone.
stderr = Console(stderr=True)
stdout = Console()

as_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
project_option = click.option(
    "--project", "project_id", type=click.IntRange(min=1), required=True, help="Project number."
)


@dataclass
class Shell:
    """One invocation: its settings, read when a command first needs them."""

    flags: dict[str, Any]
    _settings: list[Settings] = field(default_factory=list)

    @classmethod
    def from_flags(
        cls, config: str | None, assignments: tuple[str, ...], flags: Mapping[str, Any]
    ) -> Shell:
        """Build from the group's options. Raises click.UsageError for a malformed --set."""
        if config:
            os.environ[CONFIG_FILE_VARIABLE] = config
        given = dict(flags)
        for assignment in assignments:
            name, equals, value = assignment.partition("=")
            if not equals or name not in Settings.model_fields:
                known = ", ".join(sorted(Settings.model_fields))
                raise click.UsageError(f"--set {assignment}: expected NAME=VALUE; names: {known}")
            given[name] = value
        return cls(given)

    @property
    def settings(self) -> Settings:
        """The settings in force. Raises ConfigurationError."""
        if not self._settings:
            self._settings.append(load_settings(**self.flags))
            set_up_logging(self._settings[0].log_level)
        return self._settings[0]

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which a child process reads the same settings as this one."""
        given = {name: value for name, value in self.flags.items() if value is not None}
        bare = {"label_studio_url", "label_studio_api_key", "model_dir", "log_level", "port"}
        bare |= {"workers", "threads", "basic_auth_user", "basic_auth_pass"}
        prefix = {name: "" if name in bare else "ACTIVE_LABELER_" for name in given}
        return {prefix[name] + name.upper(): str(value) for name, value in given.items()}


def set_up_logging(level: str) -> None:
    """Log to stderr, readable on a terminal, plain lines elsewhere."""
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(console=stderr, show_path=False, rich_tracebacks=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # One line a request would drown the trainer's own.
    for chatty in ("httpx", "httpcore", "alembic"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield `on_progress(what, done, total)`, which draws one bar for each kind of work."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=False) as bars:
        known: dict[str, Any] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
            bars.update(known[what], completed=done, total=total)

        yield on_progress


def print_json(answer: object) -> None:
    """Write an answer to stdout as JSON."""
    click.echo(json.dumps(answer, indent=2, default=str, ensure_ascii=False))


def die(error: Exception, code: int) -> NoReturn:
    """End with one readable sentence."""
    stderr.print(f"[bold red]error:[/] {_plain(error)}", highlight=False)
    sys.exit(code)


def require(value: Any, otherwise: str) -> Any:
    """Return the value; raise ConfigurationError with what to do where there is none."""
    if value is None:
        raise ConfigurationError(otherwise)
    return value


def _plain(error: Exception) -> str:
    return str(error).replace("[", r"\[")
