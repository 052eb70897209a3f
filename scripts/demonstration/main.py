"""The story of the demo, from an empty folder to a labeling queue that learns.

label studio → project of images → backend → connect → trainer → (oracle → curve) → people
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.panel import Panel

from ml_backend.errors import ActiveLabelerError
from ml_backend.settings import Settings, load_settings
from scripts.child_processes import (
    Child,
    one_at_a_time,
    run_to_the_end,
    running,
    sigterm_as_ctrl_c,
    usable_port,
    wait_until_it_answers,
)
from scripts.demonstration.accounts import furnish
from scripts.demonstration.images import DemoImages, read_images
from scripts.demonstration.memory import ANNOTATOR, USERNAME, Memory, recall, remember
from scripts.demonstration.network import choose_backbone
from scripts.demonstration.stage import Stage
from scripts.digits_images import write_digits
from scripts.local_label_studio import (
    LabelStudioDidNotStart,
    LabelStudioNotInstalled,
    LocalLabelStudio,
    find_label_studio,
)

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 130  # a shell's exit code for what Ctrl-C ended
EXPECTED = (ActiveLabelerError, LabelStudioNotInstalled, LabelStudioDidNotStart)
console = Console()


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
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder) as lock, sigterm_as_ctrl_c(), ExitStack() as everything:
        try:
            stage = _stage(everything, folder, lock, images)
            _show(everything, stage, annotate, pace, then_stop)
        except KeyboardInterrupt:
            console.print("\nStopping. The next start goes on from here.")
            raise SystemExit(INTERRUPTED) from None
        except EXPECTED as error:
            raise click.ClickException(str(error)) from error


def _stage(everything: ExitStack, folder: Path, lock: int, images: Path | None) -> Stage:
    """Start Label Studio, with the images of this demo at hand."""
    memory = recall(folder)
    shown = _images(folder, memory, images)
    studio = _label_studio(everything, folder, lock, memory)
    return Stage(folder, lock, memory, shown, studio, console)


def _show(
    everything: ExitStack, stage: Stage, annotate: int | None, pace: float, then_stop: bool
) -> None:
    furnish(stage)
    settings = _settings(stage)
    trainer = _backend(everything, stage, settings)
    _announce(stage)
    if annotate:
        from scripts.demonstration.show import annotate_and_compare  # with torch: seconds

        annotate_and_compare(stage, settings, annotate, pace)
    if not then_stop:
        _wait(trainer)


def _delete(folder: Path) -> None:
    """Delete what an earlier demo left, after a yes; never a folder that is none of ours."""
    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / "demo.json").exists():
        raise click.ClickException(f"{folder} holds no demo (there is no demo.json): not deleted")
    click.confirm(f"Delete {folder} with its annotations and models?", abort=True)
    with one_at_a_time(folder):
        shutil.rmtree(folder)


def _images(folder: Path, memory: Memory, asked: Path | None) -> DemoImages:
    """Find the images; a folder once begun stays with the images that it was begun with."""
    if asked and memory.images and str(asked) != memory.images:
        raise click.ClickException(
            f"{folder} holds a demo of {memory.images}. Take --fresh to begin anew with {asked}, "
            "or --folder to have both"
        )
    if not memory.images:
        memory.images = str(asked or folder / "digits")
        remember(folder, memory)
    if memory.images == str(folder / "digits") and not memory.uploaded:
        write_digits(folder / "digits")
    return read_images(Path(memory.images))


def _label_studio(
    everything: ExitStack, folder: Path, lock: int, memory: Memory
) -> LocalLabelStudio:
    memory.label_studio_port = _port("Label Studio", memory.label_studio_port)
    studio = LocalLabelStudio(
        executable=find_label_studio(),
        data_dir=folder / "label-studio",
        port=memory.label_studio_port,
        username=USERNAME,
        password=memory.password,
        legacy_tokens=False,
        bulk_import=True,
    )
    everything.callback(studio.stop)
    with console.status("Label Studio starts (about a minute the first time) ..."):
        studio.start()
    os.write(lock, f"{studio.pid}\n".encode())
    return studio


def _port(name: str, wanted: int) -> int:
    port = usable_port(wanted)
    if port != wanted:
        console.print(f"Port {wanted} is taken: {name} listens on {port}.")
    return port


def _settings(stage: Stage) -> Settings:
    """Return the backend's settings: the demo's own, over what the environment says."""
    stage.memory.backend_port = _port("The backend", stage.memory.backend_port)
    stage.remember()
    own = {
        "label_studio_url": stage.studio.url,
        "label_studio_api_key": stage.memory.access_token,
        "model_dir": stage.folder / "backend",
        "port": stage.memory.backend_port,
    }
    return load_settings(**own, backbone=choose_backbone(stage, load_settings(**own)))


def _backend(everything: ExitStack, stage: Stage, settings: Settings) -> Child:
    """Start backend and trainer, and connect the project; return the trainer."""
    environment = {
        "LABEL_STUDIO_URL": settings.label_studio_url,
        "LABEL_STUDIO_API_KEY": settings.label_studio_api_key.get_secret_value(),
        "MODEL_DIR": str(settings.model_dir),
        "PORT": str(settings.port),
        "BASIC_AUTH_USER": USERNAME,
        "BASIC_AUTH_PASS": stage.memory.password,
        "ACTIVE_LABELER_BACKBONE": settings.backbone,
    }
    url = f"http://127.0.0.1:{settings.port}"
    start = partial(running, folder=stage.folder, environment=environment, lock=stage.lock)
    backend = everything.enter_context(start("backend", ["serve"]))
    wait_until_it_answers(backend, f"{url}/health")
    trainer = everything.enter_context(start("trainer", ["train"]))
    connect = ["connect", "--project", str(stage.memory.project_id), "--backend-url", url]
    run_to_the_end(connect, stage.folder, environment)
    return trainer


def _announce(stage: Stage) -> None:
    memory = stage.memory
    console.print(
        Panel.fit(
            f"Label Studio  {stage.studio.url}/projects/{memory.project_id}/data\n"
            f"  login       {USERNAME}   password {memory.password}\n"
            f"  or          {ANNOTATOR}   password {memory.annotator_password}\n"
            f"Admin's page  http://127.0.0.1:{memory.backend_port}/ui/\n"
            f"  login       {USERNAME}   password {memory.password}\n\n"
            "Press [bold]Label All Tasks[/bold] in Label Studio: the next task is the one that the "
            "model can learn most from.",
            title="The demo is running",
        )
    )


def _wait(trainer: Child) -> None:
    console.print("Ctrl-C stops everything.")
    while not trainer.ended():
        time.sleep(0.5)
    raise trainer.failure()


if __name__ == "__main__":
    demo()
