"""report: what a project's page shows, as one file to keep or to send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ml_backend import __version__
from ml_backend.errors import (
    Busy,
    ConfigurationError,
    ImageUnreadable,
    LabelStudioError,
)
from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    progress_bars,
    project_option,
    require,
    stdout,
)

if TYPE_CHECKING:
    from ml_backend.settings import Settings

GIVE_UP_AFTER = 3  # pictures in a row that cannot be had, each after seconds of waiting


@click.command()
@project_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file. [default: report-PROJECT-DATE.html here]",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--no-images", is_flag=True, help="Leave the pictures of tasks out.")
@as_json
@click.pass_obj
def report(
    shell: Shell, project_id: int, output: Path | None, force: bool, no_images: bool, as_json: bool
) -> None:
    """Write a project's report: one HTML file with charts and pictures inside.

    Works from our own records; Label Studio is asked only for pictures that are not kept yet, and
    where it does not answer the report says so.
    """
    from ml_backend import wiring
    from ml_backend.appraisal_file import last_appraisal
    from ml_backend.web.report import pictured, render_report

    settings, now = shell.settings, wiring.utc_now()
    target = output or Path(f"report-{project_id}-{now:%Y-%m-%d}.html")
    if target.exists() and not force:
        raise ConfigurationError(f"{target} is there already: name another --output, or --force")
    store = wiring.open_store(settings)
    project = require(store.get_project(project_id), f"project {project_id} is not connected here")
    appraisal = last_appraisal(wiring.project_folder(settings, project_id))
    wanted = [] if no_images else pictured(appraisal)
    pictures, notes = _pictures(settings, project_id, wanted)
    html = render_report(
        project,
        store.counts(project_id),
        appraisal,
        pictures,
        now=now,
        links_url=settings.links_url,
        version=__version__,
        notes=notes,
    )
    _write(target, html)
    if as_json:
        found = {"file": str(target), "pictures": len(pictures), "of": len(wanted), "notes": notes}
        print_json(found)
        return
    for note in notes:
        stdout.print(note, highlight=False, markup=False)
    stdout.print(f"Written: {target}", highlight=False, markup=False)


def _pictures(
    settings: Settings, project_id: int, task_ids: list[int]
) -> tuple[dict[int, bytes], list[str]]:
    """Read the pictures, as many as can be had; say what is missing."""
    from ml_backend import wiring
    from ml_backend.wiring import pages

    thumbnail = pages.thumbnail_of(settings, wiring.open_store(settings))
    found: dict[int, bytes] = {}
    missing: dict[int, str] = {}
    in_a_row = 0
    with progress_bars() as on_progress:
        for task_id in _counted(task_ids, on_progress):
            try:
                found[task_id] = thumbnail(project_id, task_id)
                in_a_row = 0
            except (ImageUnreadable, LookupError) as error:
                missing[task_id] = str(error)
                in_a_row += 1
            except (LabelStudioError, ConfigurationError, Busy) as error:
                missing[task_id] = str(error)
                in_a_row = GIVE_UP_AFTER
            if in_a_row >= GIVE_UP_AFTER:
                break
    lacking = len(task_ids) - len(found)
    if not lacking:
        return found, []
    task_id, why = next(iter(missing.items()))
    return found, [f"{lacking} of {len(task_ids)} pictures are missing; task {task_id}: {why}"]


def _counted(task_ids: list[int], on_progress: Callable[[str, int, int], None]) -> Iterable[int]:
    for row, task_id in enumerate(task_ids):
        on_progress("pictures", row, len(task_ids))
        yield task_id
    if task_ids:
        on_progress("pictures", len(task_ids), len(task_ids))


def _write(target: Path, html: str) -> None:
    """Put the file in its place whole, so that a full disk spoils none that is there."""
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_text(html, encoding="utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


COMMANDS = (report,)
