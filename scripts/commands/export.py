"""export: a project's labels as files, people's and the model's apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    progress_bars,
    project_option,
    require,
    stdout,
)


@click.command()
@project_option
@click.option(
    "--to", "target", type=click.Path(path_type=Path), required=True, help="Folder to write."
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["csv", "folders", "label-studio", "coco", "huggingface"]),
    multiple=True,
    help="Can be repeated; the CSV files are always written.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="Confidence from which the model's labels count as sure.",
)
@click.option(
    "--links/--copies",
    "links",
    default=False,
    help="Link images that are files here, or copy them (default; fetched where they are not).",
)
@click.option("--human-only", is_flag=True, help="Leave out the model's labels.")
@click.option(
    "--force", is_flag=True, help="Replace what an earlier export wrote there, and nothing else."
)
@as_json
@click.pass_obj
def export(
    shell: Shell,
    project_id: int,
    target: Path,
    formats: tuple[str, ...],
    threshold: float,
    links: bool,
    human_only: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the labels of a project into a folder: people's, and the model's for all the rest.

    The two are never in one list. What was written is read back in every format before it gets
    its name. Started again after it was stopped, it goes on.
    """
    from ml_backend import wiring
    from ml_backend.exporting.export import Wish
    from ml_backend.wiring.export_desk import export_labels

    store = wiring.open_store(shell.settings)
    project = require(store.get_project(project_id), f"project {project_id} is not connected here")
    with progress_bars() as on_progress:
        answer = export_labels(
            shell.settings,
            store,
            project,
            target,
            threshold=threshold,
            wish=Wish(formats=formats, human_only=human_only, force=force),
            links=links,
            on_progress=on_progress,
        )
    if as_json:
        print_json(answer)
    else:
        _print(answer, human_only=human_only)


def _print(answer: dict[str, Any], *, human_only: bool) -> None:
    counts, threshold = answer["counts"], answer["threshold"]
    table = Table("labels", "tasks", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    table.add_row("by people", f"{counts['human']:,}")
    if not human_only:
        table.add_row(f"by the model, at or above {threshold:g}", f"{counts['model_above']:,}")
        table.add_row(f"by the model, below {threshold:g}", f"{counts['model_below']:,}")
    table.add_row("left out (left_out.csv)", f"{counts['left_out']:,}")
    stdout.print(table)
    for line in answer["trust_in_words"].splitlines():
        stdout.print(escape(line), highlight=False)
    if counts["images_missing"]:
        stdout.print(
            f"[yellow]{counts['images_missing']} images are missing: images_missing.csv[/]"
        )
    if answer["news_waiting"]:
        stdout.print(
            f"[yellow]{answer['news_waiting']} events wait for a round: their labels may not be "
            "in here yet[/]"
        )
    stdout.print(
        f"{escape(answer['folder'])}: every format read back and agrees",
        highlight=False,
        soft_wrap=True,
    )


COMMANDS = (export,)
