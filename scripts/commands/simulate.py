"""simulate: replay labeling on labeled images, and say which strategy and backbone to take."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import joblib
from rich.markup import escape
from rich.table import Table

from ml_backend.errors import ConfigurationError
from ml_backend.settings import Settings
from scripts.commands.imports import source_options, source_spec
from scripts.commands.shell import Shell, as_json, print_json, progress_bars, stdout

if TYPE_CHECKING:
    from ml_backend.gathering import Embedding, LabeledImage
    from ml_backend.jobs.store import ConnectedProject, Store
    from ml_backend.simulation import tables
    from ml_backend.simulation.replay import Contender
    from ml_backend.simulation.report import Results

STRATEGIES = ("uherding", "maxherding", "margin", "entropy", "random")
ACCURACIES = ("0.7", "0.8", "0.9")
SCRATCH = "scratch"

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Source:
    """The images to replay, what they are called, and where a network of their own is kept."""

    images: Sequence[LabeledImage]
    name: str
    scratch: Path
    notes: tuple[str, ...] = ()  # what is left out
    caveats: tuple[str, ...] = ()  # how far a replay can be trusted


@click.command()
@source_options
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help=f"Can be repeated. Default: {', '.join(STRATEGIES)}. random takes part in any case.",
)
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    metavar="NAME[@WEIGHTS]",
    help="As the settings name it; can be repeated. Default: the configured one.",
)
@click.option("--seeds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), help="Labels from one ranking to the next.")
@click.option("--labels", type=click.IntRange(min=2), help="Labels at the end of a replay.")
@click.option(
    "--test-share",
    type=click.FloatRange(0, 0.9, min_open=True),
    default=0.25,
    show_default=True,
    help="Of each class, held out to measure on.",
)
@click.option(
    "--accuracy",
    "accuracies",
    multiple=True,
    help=f"Tell the labels to reach it. Can be repeated. Default: {', '.join(ACCURACIES)}.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes. Default: one a core.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("simulation"),
    show_default=True,
    help="Folder of results. The same command goes on with what is in it.",
)
@as_json
@click.pass_obj
def simulate(shell: Shell, /, output: Path, jobs: int | None, as_json: bool, **asked: Any) -> None:
    """Replay labeling on images whose labels are known: which strategy needs fewest?

    Every strategy labels the same images from nothing, several times over, and is measured on
    images held out. Nothing is written to Label Studio. Stopped at any time, the same command
    goes on. Leaves results.json, results.csv and report.html in the output folder.
    """
    from ml_backend.gathering import gather, require_enough
    from ml_backend.simulating import simulate as replay_all

    settings = shell.settings
    wanted = _wanted(settings, asked)
    source = _source(settings, output, asked)
    require_enough([image.label for image in source.images], source.notes)
    with progress_bars() as on_progress:
        names = asked["backbones"] or (settings.backbone,)
        embeddings = {name: _embedding(settings, name, source, on_progress) for name in names}
        gathered = gather(
            source.images,
            embeddings,
            settings,
            on_progress,
            source=source.name,
            notes=source.notes,
            caveats=source.caveats,
        )
        results = replay_all(gathered, wanted, output, jobs or joblib.cpu_count(), on_progress)
    if as_json:
        print_json(results.as_dict())
    else:
        _tell(results, output)


def _wanted(settings: Settings, asked: dict[str, Any]) -> Any:
    """Read what is to be compared (a `simulating.Wanted`). Raises ConfigurationError."""
    from ml_backend.simulating import Wanted
    from ml_backend.simulation.summary import REFERENCE

    names = dict.fromkeys([*(asked["strategies"] or STRATEGIES), REFERENCE])
    return Wanted(
        contenders=tuple(_contender(name, settings.uncertainty) for name in names),
        seeds=asked["seeds"],
        batch=asked["batch"],
        labels=asked["labels"],
        test_share=asked["test_share"],
        accuracies=_shares(asked["accuracies"] or ACCURACIES),
    )


def _contender(label: str, uncertainty: str) -> Contender:
    """Read NAME[:KEY=VALUE,...]. Raises UnknownStrategy, ConfigurationError."""
    from ml_backend.simulation.replay import Contender
    from strategies.table import find_strategy

    name, _, rest = label.partition(":")
    strategy = find_strategy(name)
    parameters: dict[str, Any] = {}
    for assignment in filter(None, rest.split(",")):
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigurationError(f"--strategy {label}: expected NAME:KEY=VALUE,...")
        parameters[key.strip()] = _value(value.strip())
    if "uncertainty" in strategy.parameters and "uncertainty" not in parameters:
        parameters["uncertainty"] = uncertainty  # as the live loop has it
        if uncertainty != Settings.model_fields["uncertainty"].default:
            label = f"{label}{',' if rest else ':'}uncertainty={uncertainty}"
    strategy.check(parameters)
    return Contender(label, name, tuple(parameters.items()))


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text


def _shares(texts: Sequence[str]) -> tuple[float, ...]:
    try:
        shares = [float(text) for given in texts for text in given.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigurationError(f"--accuracy: {error}") from error
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ConfigurationError(f"--accuracy {' '.join(texts)}: expected numbers from 0 to 1")
    return tuple(sorted(set(shares)))


def _source(settings: Settings, output: Path, asked: dict[str, Any]) -> Source:
    """Open what the flags name: a connected project by its own records, else any data source."""
    from ml_backend import wiring
    from ml_backend.gathering import LabeledImage
    from ml_backend.project_labels import labels_of_unconnected
    from ml_backend.project_source import ProjectSource
    from ml_backend.wiring import imports

    spec = source_spec(asked, asked["options"])
    if project_id := _of_ours(settings, spec):
        store = wiring.open_store(settings)
        project = store.get_project(project_id)
        if project and spec.get("control") in (None, project.control.from_name):
            return _connected(settings, store, project, output)
    opened = imports.open_source(settings, spec)
    scratch = output / SCRATCH
    if isinstance(opened, ProjectSource):
        found = labels_of_unconnected(opened, settings.image_max_bytes)
        return Source(found.images, opened.describe(), scratch, found.notes, found.caveats)
    images = [
        LabeledImage(item.key, item.label or "", partial(item.read_bytes, settings.image_max_bytes))
        for item in opened.items()
    ]
    notes = [f"{where}: {why}" for where, why in opened.problems.listed]
    if opened.problems.count:
        notes = [f"{opened.problems.count} of the source's entries cannot be used.", *notes[:5]]
    if unlabeled := sum(not image.label for image in images):
        notes.append(f"Left out, without a label: {unlabeled} of {len(images)} images.")
    return Source(images, opened.describe(), scratch, tuple(notes))


def _of_ours(settings: Settings, spec: dict[str, Any]) -> int | None:
    """Return the number of a project in the Label Studio of LABEL_STUDIO_URL, None for others."""
    from ml_backend.wiring.imports import is_ours

    number = spec.get("project")
    ours = spec.get("kind") == "label_studio" and is_ours(settings, spec.get("url"))
    return number if ours and isinstance(number, int) else None


def _connected(settings: Settings, store: Store, project: ConnectedProject, output: Path) -> Source:
    from ml_backend import wiring
    from ml_backend.project_labels import labels_of_connected

    bench = wiring.workbench_factory(settings, store)(project.project_id, lambda: None)
    found = labels_of_connected(bench)
    own = wiring.project_folder(settings, project.project_id) / SCRATCH
    scratch = own if own.is_dir() else output / SCRATCH
    name = f"project {project.project_id}, {project.title}"
    return Source(found.images, name, scratch, found.notes, found.caveats)


def _embedding(settings: Settings, name: str, source: Source, on_progress: OnProgress) -> Embedding:
    """Load NAME[@WEIGHTS] with its cache in MODEL_DIR. Raises WeightsUnavailable."""
    from ml_backend.wiring.backbone_shelf import Backbones

    bare, at, weights = name.partition("@")
    if at or bare != settings.backbone:
        settings = settings.model_copy(update={"backbone": bare, "weights": weights or "DEFAULT"})
    shelf = Backbones(settings)
    if bare == SCRATCH:
        backbone = _scratch(settings, source, on_progress)
    else:
        backbone = shelf.of(0, lambda: ())
    return backbone, shelf.cache_of(backbone)


def _scratch(settings: Settings, source: Source, on_progress: OnProgress) -> Any:
    from ml_backend.gathering import pictures
    from ml_backend.learning.scratch import load_scratch_backbone, train_scratch_backbone

    if source.scratch.is_dir():
        return load_scratch_backbone(source.scratch, settings.device)
    shown = pictures(source.images, settings, on_progress)
    return train_scratch_backbone(shown, source.scratch, settings.device, seed=settings.seed)


def _tell(results: Results, output: Path) -> None:
    from ml_backend.simulation.tables import comparison_table, labels_table

    for note in results.notes:
        stdout.print(f"[yellow]{escape(note)}[/]", highlight=False)
    for table in (comparison_table(results.rows), labels_table(results.rows)):
        _print(table)
    for number, sentence in enumerate(results.advice.sentences):
        stdout.print(f"[bold]{escape(sentence)}[/]" if number == 0 else escape(sentence))
    stdout.print(f"[dim]{escape(results.advice.rule)}[/]", highlight=False)
    stdout.print(
        f"{escape(str(output / 'report.html'))} has the curves.", highlight=False, soft_wrap=True
    )


def _print(table: tables.Table) -> None:
    shown = Table(title=escape(table.title), title_justify="left", box=None, pad_edge=False)
    for name in table.head:
        shown.add_column(escape(name), overflow="fold")
    for row in table.rows:
        shown.add_row(*map(escape, row))
    stdout.print(shown)


COMMANDS = (simulate,)
