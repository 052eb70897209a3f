"""import: put the images of a data source into a Label Studio project, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ml_backend.errors import ConfigurationError
from scripts.commands.shell import Shell, as_json, print_json, stderr, stdout

if TYPE_CHECKING:
    from ml_backend.importing import ImportReport, Survey
    from ml_backend.sources import Problems

LISTED = 5

# The flags for each kind of source, with the option that their value becomes.
SOURCES = {
    "images": ("folder", "path", "FOLDER", "Images in a folder, or one subfolder a class."),
    "csv": ("csv", "path", "FILE", "A table with a column of paths or addresses."),
    "url": ("fsspec", "url", "URL", "A folder of a storage service: s3://, gs://, ..."),
    "tfds": ("tfds", "name", "NAME", "A prepared set of TensorFlow Datasets."),
    "huggingface": ("huggingface", "path", "FOLDER", "A data set of Hugging Face on disk."),
    "torchvision": ("torchvision", "name", "CLASS", "A data set that torchvision reads."),
    "from_project": ("label_studio", "project", "ID|URL", "Another Label Studio project."),
}


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags by which a source is named."""
    options = [
        click.option(f"--{name.replace('_', '-')}", metavar=metavar, help=text)
        for name, (_, _, metavar, text) in SOURCES.items()
    ]
    options += [
        click.option("--source", metavar="YAML", help="Any source, as {kind: csv, path: a.csv}."),
        click.option("--root", metavar="FOLDER", help="Where the paths of a table or a set start."),
        click.option(
            "--option",
            "options",
            multiple=True,
            metavar="NAME=VALUE",
            help="An option of the source (docs/importing.md), e.g. label_column=species.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def source_spec(given: Mapping[str, Any], options: tuple[str, ...]) -> dict[str, Any]:
    """Turn the flags into what `open_source` takes. Raises click.UsageError."""
    named = [name for name in (*SOURCES, "source") if given.get(name) is not None]
    if len(named) != 1:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in (*SOURCES, "source"))
        raise click.UsageError(f"name one source: {flags}")
    if named == ["source"]:
        spec = _yaml(given["source"], "--source")
        if not isinstance(spec, dict):
            raise click.UsageError("--source: expected {kind: ..., path: ...}")
    else:
        kind, option, _, _ = SOURCES[named[0]]
        spec = {"kind": kind, option: given[named[0]]}
        if kind == "label_studio":
            spec |= _project(given["from_project"])
    if given.get("root") is not None:
        spec["data_dir" if spec.get("kind") == "tfds" else "root"] = given["root"]
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--option {text}: expected NAME=VALUE")
        # One character may be a delimiter that YAML reads as something else.
        spec[name] = value if len(value) == 1 else _yaml(value, f"--option {name}")
    return spec


@click.command("import")
@source_options
@click.option("--project", "project_id", type=click.IntRange(min=1), help="The project's number.")
@click.option("--new-project", metavar="TITLE", help="Make a project, or go on with that one.")
@click.option(
    "--classes", help="The new project's classes, comma-separated; default: the source's."
)
@click.option("--control", help="Name of the <Choices>, where the config has several.")
@click.option("--upload", is_flag=True, help="Copy the images into Label Studio.")
@click.option(
    "--labels",
    type=click.Choice(["keep", "hide"]),
    default="keep",
    help="keep: labels of the source become annotations. hide: Label Studio never sees them.",
)
@click.option(
    "--by-address",
    is_flag=True,
    help="Trust s3://, gs:// and https:// addresses: fetch nothing, tell images by address.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Stop after that many images.")
@click.option("--dry-run", is_flag=True, help="Say what the source is, and change nothing.")
@as_json
@click.pass_obj
def import_(shell: Shell, /, options: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Put the images of a source into a Label Studio project, each once.

    May be stopped at any moment and run again: what is there already is left alone, and so are
    copies of an image under another name. Afterwards: active-labeler connect.

    Exit code 1 where no image could be imported.
    """
    from ml_backend.importing import survey
    from ml_backend.wiring import imports

    spec = source_spec(given, options)
    into = (given["project_id"], given["new_project"])
    if not given["dry_run"] and sum(each is not None for each in into) != 1:
        raise click.UsageError("say where to: --project NUMBER or --new-project TITLE")
    source = imports.open_source(shell.settings, spec)
    stderr.print(escape(source.describe()), highlight=False)
    found = survey(source)
    if given["dry_run"]:
        _tell_survey(source.describe(), found, source.problems, as_json=as_json)
        return
    project_id, report = _import(shell, source, found, given)
    if as_json:
        print_json({"project": project_id, **summary(report)})
    else:
        _tell(project_id, report)
    raise SystemExit(int(report.imported + report.known == 0))


def _import(
    shell: Shell, source: Any, found: Survey, given: Mapping[str, Any]
) -> tuple[int, ImportReport]:
    from ml_backend import wiring
    from ml_backend.importing import check_classes, import_images
    from ml_backend.wiring import imports

    settings, store = shell.settings, wiring.open_store(shell.settings)
    project_id = given["project_id"]
    if project_id is None:
        classes = _classes(given["classes"]) or [*found.labels]
        project_id = imports.new_project(settings, store, given["new_project"], classes)
        stderr.print(f"project {project_id}: {escape(given['new_project'])}", highlight=False)
    target = imports.import_target(settings, project_id, given["control"])
    show_labels = given["labels"] == "keep"
    if show_labels:
        check_classes(found.labels, target.control.classes)
    rules = imports.reading_rules(settings, upload=given["upload"], by_address=given["by_address"])
    total = min(found.images, given["limit"] or found.images)
    with (
        imports.import_bench(settings, store, target, show_labels=show_labels) as bench,
        _progress(total) as on_progress,
    ):
        return project_id, import_images(bench, source, rules, on_progress, given["limit"])


def summary(report: ImportReport) -> dict[str, Any]:
    """Return a report as JSON can hold it."""
    lists = ("duplicates", "conflicts", "unreadable", "skipped")
    counts = {name: getattr(report, name).count for name in lists}
    listed = {f"{name}_listed": getattr(report, name).listed for name in lists}
    whole = {name: getattr(report, name) for name in ("imported", "labeled", "known")}
    return {**whole, **counts, **listed}


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr) as bars:
        bar = bars.add_task("importing", total=total, rate="")

        def on_progress(seen: int) -> None:
            speed = bars.tasks[0].speed
            bars.update(bar, completed=seen, rate=f"{speed:,.0f}/s" if speed else "")

        yield on_progress


def _tell_survey(description: str, found: Survey, skipped: Problems, *, as_json: bool) -> None:
    if as_json:
        answer = {"images": found.images, "labels": found.labels, "skipped": skipped.count}
        print_json({"source": description, **answer, "skipped_listed": skipped.listed})
        return
    stdout.print(f"{found.images:,} images, {len(found.labels)} classes", highlight=False)
    for name, images in found.labels.items():
        stdout.print(f"  {escape(name)}: {images:,}", highlight=False)
    _list("cannot be used", skipped)


def _tell(project_id: int, report: ImportReport) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("imported", f"{report.imported:,}", f"{report.labeled:,} with a label")
    table.add_row("there before", f"{report.known:,}")
    table.add_row("copies of another", f"{report.duplicates.count:,}", "left out")
    table.add_row("unreadable", f"{report.unreadable.count + report.skipped.count:,}", "left out")
    stdout.print(table, highlight=False)
    _list("are the same image with another label", report.conflicts)
    _list("are copies", report.duplicates)
    _list("are no readable image", report.unreadable)
    _list("cannot be used", report.skipped)
    stdout.print(
        f"Next: active-labeler connect --project {project_id} --backend-url http://localhost:9090",
        highlight=False,
        soft_wrap=True,
    )


def _list(what: str, problems: Problems) -> None:
    if problems.count:
        stdout.print(f"[yellow]{problems.count:,} {what}[/], such as", highlight=False)
        for where, reason in problems.listed[:LISTED]:
            stdout.print(f"  {escape(where)}: {escape(reason)}", highlight=False, soft_wrap=True)


def _classes(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _project(text: str) -> dict[str, Any]:
    """Read 7, or https://host/projects/7/data."""
    address, found, rest = text.rpartition("/projects/")
    number = (rest.split("/")[0] if found else text).strip()
    if not number.isdecimal():
        raise click.UsageError(f"--from-project {text}: expected a number, or .../projects/NUMBER")
    return {"project": int(number), "url": address or None}


def _yaml(text: str, what: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{what}: {text[:80]!r} is no YAML: {error}") from None


COMMANDS = (import_,)
