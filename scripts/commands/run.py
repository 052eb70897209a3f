"""run, init and config: from a data set and a YAML file to a finished labeling."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.markup import escape
from rich.table import Table

from ml_backend.errors import ConfigurationError
from scripts.commands.imports import SOURCES, source_options, source_spec
from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    set_up_logging,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from scripts.run.in_force import Run
    from scripts.run.start import Ending

KeyPath = tuple[str, ...]
INTERRUPTED = 130  # a shell's exit code for what Ctrl-C ended
FILE_TYPE = click.Path(dir_okay=False, path_type=Path)


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that say what a run is."""
    options = [
        click.option("--config", "file", type=FILE_TYPE, help="The run's YAML file."),
        click.option("--classes", help="The classes, comma-separated; default: the source's."),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any key of the file, e.g. --set labeling.target.labels=200. Can be repeated.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return source_options(command)


@click.command()
@config_options
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the run keeps its state.",
)
@click.option("--oracle", is_flag=True, help="Known labels answer, in Label Studio, for people.")
@click.option("--offline", is_flag=True, help="The same without a Label Studio: an experiment.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would happen.")
@click.option(
    "--pace",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Seconds between two answers of the oracle.",
)
@click.pass_obj
def run(
    shell: Shell, /, oracle: bool, offline: bool, dry_run: bool, pace: float, **given: Any
) -> None:
    """Take a data set to a finished labeling: import, label, learn, export.

    By a YAML file (`active-labeler init` writes one), or at once: active-labeler run --images
    FOLDER. Ctrl-C stops everything; the same command goes on.
    """
    from scripts.run.live import Oracle
    from scripts.run.start import run_live, run_offline

    wanted = _run(shell, given)
    set_up_logging("WARNING")
    if given["file"] is None:
        _show_config_used(wanted)
    if dry_run:
        _print_plan(wanted, oracle=oracle, offline=offline)
        return
    wanted.folder.mkdir(parents=True, exist_ok=True)
    try:
        if offline:
            ending = run_offline(wanted, stderr)
        else:
            ending = run_live(wanted, stderr, Oracle(pace) if oracle else None)
    except KeyboardInterrupt:
        stderr.print("Stopped. The same command goes on from here.")
        raise SystemExit(INTERRUPTED) from None
    print_end(wanted, ending)


@click.command()
@config_options
@click.option("--output", type=FILE_TYPE, default=Path("config.yaml"), show_default=True)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(output: Path, force: bool, **given: Any) -> None:
    """Write a YAML file to begin a run with, commented, from flags or a few questions."""
    from scripts.run.config_file import parse, read_config
    from scripts.run.in_force import without_secrets
    from scripts.run.starting_file import starting_file

    if output.exists() and not force:
        raise ConfigurationError(f"{output} is there already; --force replaces it")
    values = _overrides(given, absolute=output.absolute().parent != Path.cwd())
    if ("data", "source") not in values:
        values = {**_asked(), **values}
    read_config(None, values)  # raises before anything is written
    if any(without_secrets(path[-1], each) != each for path, each in values.items()):
        output.touch(0o600)
        output.chmod(0o600)
    output.write_text(starting_file(values), "utf-8")
    parse(output)
    stdout.print(
        f"{output} is written. Next: active-labeler run --config {output}", highlight=False
    )


@click.group("config")
def config() -> None:
    """Look at a run's configuration."""


@config.command()
@config_options
@as_json
@click.pass_obj
def show(shell: Shell, /, as_json: bool, **given: Any) -> None:
    """Print what is in force, and where each value comes from. Secrets are masked."""
    from scripts.run.in_force import shown

    rows = shown(_run(shell, given))
    if as_json:
        print_json([{"key": key, "value": value, "from": origin} for key, value, origin in rows])
        return
    table = Table("key", "value", "from", box=None, pad_edge=False)
    for key, value, origin in rows:
        style = "dim" if origin == "default" else ""
        table.add_row(key, escape(value), origin, style=style)
    stdout.print(table)


def _run(shell: Shell, given: Mapping[str, Any]) -> Run:
    """Read and check the whole config. Raises ConfigurationError."""
    from scripts.run.config import OF_THE_RUN
    from scripts.run.config_file import read_config
    from scripts.run.in_force import Run, settings_of

    overrides = _overrides(given)
    for name, value in shell.flags.items():
        if value is not None and name in OF_THE_RUN:
            raise click.UsageError(f"a run has its own {name}: see --set project.label_studio=URL")
        if value is not None:
            overrides["settings", name] = value
    file = given["file"]
    if file is None and ("data", "source") not in overrides:
        raise click.UsageError("expected --config FILE, or a source such as --images FOLDER")
    config = read_config(file, overrides)
    base = file.absolute().parent if file else Path.cwd()
    name = file.stem if file else _name_of(config.data.source.spec())
    folder = given.get("folder") or base / f"{name}.run"
    made = Run(config, file, folder.absolute(), base, frozenset(overrides))
    settings_of(made)
    return made


def _overrides(given: Mapping[str, Any], *, absolute: bool = True) -> dict[KeyPath, Any]:
    """Turn flags into values by key. Paths in flags are relative to where the command runs."""
    from scripts.run.in_force import PATHS_OF_SOURCES

    overrides: dict[KeyPath, Any] = {}
    if any(given.get(name) is not None for name in (*SOURCES, "source")):
        spec = source_spec(given, given["options"])
        for name in PATHS_OF_SOURCES if absolute else ():
            if isinstance(spec.get(name), str):
                spec[name] = str(Path(spec[name]).expanduser().absolute())
        overrides["data", "source"] = spec
    if given.get("classes"):
        names = [name.strip() for name in given["classes"].split(",") if name.strip()]
        overrides["data", "classes"] = names
    for text in given["assignments"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--set {text}: expected KEY=VALUE")
        try:
            overrides[tuple(name.split("."))] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.UsageError(f"--set {name}: {value!r} is no YAML: {error}") from None
    return overrides


def _name_of(spec: Mapping[str, Any]) -> str:
    place = str(spec.get("path") or spec.get("url") or spec.get("name") or spec["kind"])
    return Path(place).name or "run"


def _asked() -> dict[KeyPath, Any]:
    """Ask for the little that a run needs. Raises click.UsageError where nobody can answer."""
    if not sys.stdin.isatty():
        raise click.UsageError("name a source, such as --images FOLDER: nobody is here to be asked")
    kind = click.prompt("The images are in a", type=click.Choice(["folder", "csv"]))
    path = click.prompt("Path", type=click.Path(exists=True))
    title = click.prompt("Title of the project", default="Active labeling")
    labels = click.prompt("Stop after so many labels (0: when all is labeled)", type=int, default=0)
    values: dict[KeyPath, Any] = {
        ("data", "source"): {"kind": kind, "path": path},
        ("project", "title"): title,
    }
    return values | ({("labeling", "target", "labels"): labels} if labels > 0 else {})


def _show_config_used(wanted: Run) -> None:
    from scripts.run.in_force import without_secrets
    from scripts.run.starting_file import values_only

    stderr.print("[dim]Without a file, this is:[/]")
    values: dict[KeyPath, Any] = {("data", "source"): wanted.config.data.source.spec()}
    values |= _dumped(wanted)
    told = values_only({path: without_secrets(path[-1], each) for path, each in values.items()})
    stderr.print(escape(told.rstrip()), highlight=False, style="dim")
    stderr.print(
        f"[dim]State is kept in {escape(str(wanted.folder))}[/]", highlight=False, soft_wrap=True
    )


def _dumped(wanted: Run) -> dict[KeyPath, Any]:
    return {
        path: value
        for path in wanted.flags
        if (value := _value_at(wanted.config.model_dump(mode="json"), path)) is not None
    }


def _value_at(values: Any, path: KeyPath) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _print_plan(wanted: Run, *, oracle: bool, offline: bool) -> None:
    from ml_backend.importing import survey
    from ml_backend.wiring.imports import open_source
    from scripts.run.data import classes_of, open_data
    from scripts.run.in_force import settings_of

    settings, config = settings_of(wanted), wanted.config
    data = open_data(wanted, lambda spec: open_source(settings, spec))
    found = survey(data.pool)
    classes = classes_of(wanted, set(found.labels))
    where = "no Label Studio" if offline else config.project.label_studio
    who = "an oracle" if oracle or offline else "people"
    target = config.labeling.target.model_dump(exclude_none=True) or "all images"
    stdout.print(
        f"{escape(data.pool.describe())}\n"
        f"  {found.images} images, {sum(found.labels.values())} with a known label, "
        f"{len(classes)} classes: {escape(', '.join(classes))}\n"
        f"They would be imported into {escape(where)} and labeled by {who}, in the order of "
        f"{settings.strategy}, until: {target}.\n"
        f"Network: {settings.backbone}. Export: {', '.join(config.export.formats)} into "
        f"{escape(str(wanted.export_folder))}.\nState: {escape(str(wanted.folder))}. "
        "Nothing was changed.",
        highlight=False,
        soft_wrap=True,
    )


def print_end(wanted: Run, ending: Ending) -> None:
    """Say why a run ended, where its labels are, and what they and the model are worth."""
    told, tested = ending.exported, ending.tested
    counts = told["counts"]
    stdout.print(
        f"Done: {escape(ending.why)}.\n{counts['human']} labels by people, "
        f"{counts['model_above']} by the model at {told['threshold']:.0%} confidence or more, "
        f"{counts['model_below']} below, {counts['left_out']} left out: "
        f"{escape(str(wanted.export_folder))}",
        highlight=False,
        soft_wrap=True,
    )
    stdout.print(escape(told["trust_in_words"].rstrip()), highlight=False)
    if tested:
        accuracy = tested["accuracy"]
        stdout.print(
            f"Accuracy on the test set: {accuracy['value']:.1%} ({accuracy['low']:.1%} to "
            f"{accuracy['high']:.1%}, {tested['images']} images)",
            highlight=False,
        )


COMMANDS = (run, init, config)
