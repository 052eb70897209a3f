"""The story of the demo: a run (`scripts.run`) of images that are at hand.

images → a run of them in one folder → (oracle → curve) → people
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from ml_backend.errors import ActiveLabelerError
from scripts.child_processes import one_at_a_time
from scripts.commands.run import INTERRUPTED, print_end
from scripts.commands.shell import set_up_logging, stderr
from scripts.demonstration.images import HEADER, HOLDOUT, write_table
from scripts.digits_images import write_digits
from scripts.run.config_file import read_config
from scripts.run.in_force import Run
from scripts.run.memory import FILE as RUN_FILE
from scripts.run.starting_file import values_only

ROOT = Path(__file__).resolve().parents[2]
CONFIG, TABLE = "demo.yaml", "images.csv"
EARLIER = "demo.json"  # what a demo of an earlier version has in its folder


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="A folder with one subfolder a class. Without it: scikit-learn's handwritten digits.",
)
@click.option(
    "--annotate",
    type=click.IntRange(min=1),
    help="Let an oracle annotate this many tasks, then compare with random orders.",
)
@click.option(
    "--pace",
    type=click.FloatRange(min=0),
    default=1.5,
    show_default=True,
    help="Seconds that the oracle looks at each image.",
)
@click.option("--fresh", is_flag=True, help="Delete the demo's folder first (asks before).")
@click.option(
    "--then-stop", is_flag=True, help="Stop when all is done, without waiting for Ctrl-C."
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    default=ROOT / ".demo",
    help="Where the demo keeps everything. Default: .demo in the clone.",
)
def demo(
    images: Path | None,
    annotate: int | None,
    pace: float,
    fresh: bool,
    then_stop: bool,
    folder: Path,
) -> None:
    """Start a Label Studio and the backend, and show a labeling queue that learns.

    Everything listens on 127.0.0.1 alone and lies in one folder. A second start goes on where the
    first ended.
    """
    if fresh:
        _delete(folder)
    set_up_logging("WARNING")
    try:
        _show(demo_run(folder, images), annotate, pace, then_stop)
    except KeyboardInterrupt:
        stderr.print("Stopped. The next start goes on from here.")
        raise SystemExit(INTERRUPTED) from None
    except ActiveLabelerError as error:
        raise click.ClickException(str(error)) from error


def _show(run: Run, annotate: int | None, pace: float, then_stop: bool) -> None:
    from scripts.run import live, start  # with the backend: seconds

    with start.opened(run, stderr, oracle=False) as made:
        live.announce(made, stderr, oracle=annotate is not None)
        if annotate:
            from scripts.demonstration.show import annotate_and_compare  # with torch: seconds

            annotate_and_compare(made, annotate, pace)
        if then_stop:
            return
        if annotate:
            stderr.print("Now you: press Label All Tasks in Label Studio. Ctrl-C stops everything.")
        why = live.label(made, run.config.labeling, stderr, None)
        print_end(run, start.ended(made, why))


def demo_run(folder: Path, asked: Path | None) -> Run:
    """Return the folder's run, begun where there is none; it stays with its images.

    Raises click.ClickException for a folder with something else in it, ConfigurationError for
    images that are none.
    """
    file = folder / CONFIG
    if not file.exists():
        _begin(folder, asked)
    run = Run(read_config(file, {}), file, folder, folder)
    shown = (run.source_spec() or {}).get("root")
    if asked and str(asked) != shown:
        raise click.ClickException(
            f"{folder} holds a demo of {shown}. Take --fresh to begin anew with {asked}, "
            "or --folder to have both"
        )
    stderr.print(
        f"A demo of {shown}, kept in {folder}. A fifth of each class stays out of Label Studio, to "
        "measure on.",
        highlight=False,
        markup=False,
    )
    return run


def _begin(folder: Path, asked: Path | None) -> None:
    """Write the images' table, and the run's file last: a start that was ended begins anew."""
    if (folder / EARLIER).exists():
        raise click.ClickException(
            f"{folder} holds a demo of an earlier version, which this one cannot go on with. Take "
            "--fresh to delete it and begin anew, or --folder to begin elsewhere"
        )
    if (folder / RUN_FILE).exists():
        raise click.ClickException(f"{folder} holds a run, and no demo. Take another --folder")
    images = asked or folder / "images" / "digits"
    if not asked:
        write_digits(images)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(images, folder / TABLE)
    columns = dict(zip(("image_column", "label_column", "split_column"), HEADER, strict=True))
    table = {"kind": "csv", "path": TABLE, "root": str(images), **columns, "delimiter": ","}
    text = values_only(
        {
            ("data", "source"): table,
            ("data", "test_split"): HOLDOUT,
            ("data", "known_labels"): "hide",
            ("project", "title"): f"Active labeling of {images.name}"[:50],
        }
    )
    (folder / CONFIG).write_text(text, "utf-8")


def _delete(folder: Path) -> None:
    """Delete what an earlier demo left, after a yes; never a folder that is none of ours."""
    if not folder.exists():
        return
    if any(folder.iterdir()) and not any((folder / name).exists() for name in (CONFIG, EARLIER)):
        raise click.ClickException(f"{folder} holds no demo (there is no {CONFIG}): not deleted")
    click.confirm(f"Delete {folder} with its annotations and models?", abort=True)
    with one_at_a_time(folder):
        shutil.rmtree(folder)


if __name__ == "__main__":
    demo()
