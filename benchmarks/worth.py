"""What a queue is worth on real images: labels saved against random, and where it does not help.

    python -m benchmarks.worth --docs docs/results.md

The engine is that of `active-labeler simulate`. Per image set and seed: a quarter of each class is
held out; every strategy labels the rest from nothing, ranked anew at each budget, and the live
loop's head is measured on what was held out. Photos are embedded by a pretrained SqueezeNet 1.1; of
the digits the 64 pixels are the embedding. Finished replays are kept under --cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.image_sets import ImageSet
from benchmarks.learning_curve_report import replace_between
from benchmarks.learning_curves import add_set_options, load_set
from ml_backend.network_settings import NetworkSettings
from ml_backend.simulation.advice import Advice, advise
from ml_backend.simulation.cells import Cell, Cells
from ml_backend.simulation.measures import Comparison, compared
from ml_backend.simulation.replay import Contender, Curve
from ml_backend.simulation.running import Plan, run
from ml_backend.simulation.summary import REFERENCE, Reach, Row, summarise
from ml_backend.simulation.tables import as_labels, as_points, chance

STRATEGIES = ("uherding", "margin", "entropy", "random")
DEFAULT = STRATEGIES[0]
BUDGETS = (10, 20, 30, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400)
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# What people know the sets as, and where they come from.
NAMES = {
    "digits": "Digits (UCI, bundled with scikit-learn)",
    "eurosat2700": "EuroSAT RGB, 2,700 of its images (Helber et al. 2019)",
    "trashnet160": "TrashNet (Thung and Yang 2016)",
    "clothing160": "Clothing dataset, small (Grigorev 2020)",
    "cifar10-3000": "CIFAR-10, 300 training images a class (Krizhevsky 2009)",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One image set with what came out on it."""

    images: ImageSet
    rows: list[Row]
    advice: Advice
    at_the_end: Comparison  # accuracy of the default strategy and of random with all labels


def measure(images: ImageSet, seeds: int, jobs: int, cache: Path) -> Measured:
    """Replay what the cache has not."""
    plan = Plan(tuple(Contender(name, name) for name in STRATEGIES), BUDGETS, seeds)
    data = sha256(images.embeddings_ND.tobytes() + images.labels_N.tobytes()).hexdigest()[:16]
    cells = Cells(cache / "worth" / images.name, {"data": data, "budgets": BUDGETS})

    def say(done: int, total: int) -> None:
        print(f"{images.name}: {done} of {total} replays", file=sys.stderr)

    curves = run({images.features: images}, plan, cells, jobs, say)
    rows = summarise(curves, LEVELS)
    return Measured(images, rows, advise(rows, curves), end_of(curves))


def end_of(curves: Mapping[Cell, Curve]) -> Comparison:
    """Compare the default strategy with random where the curves end."""
    ours, theirs = (
        [curve.accuracies[-1] for cell, curve in curves.items() if cell.contender == name]
        for name in (DEFAULT, REFERENCE)
    )
    return compared({DEFAULT: (ours, theirs)})[DEFAULT]


def page(measured: list[Measured], seeds: int, audit_share: float) -> str:
    """Return the Markdown of all sets."""
    parts = [_overview(measured, audit_share)]
    for each in measured:
        count, classes = len(each.images.labels_N), len(each.images.classes)
        parts.append(
            f"### {NAMES[each.images.name]}\n\n{count:,} images, {classes} classes, "
            f"{each.images.features}.\n\n{_areas(each.rows)}\n\n{_labels(each.rows, audit_share)}"
            f"\n\n{' '.join(each.advice.sentences)}"
        )
    parts.append(
        f"Seeds 0 to {seeds - 1}; budgets {', '.join(map(str, BUDGETS))}. On {_processor()} "
        f"({os.cpu_count()} cores), Python {platform.python_version()}."
    )
    return "\n\n".join(parts) + "\n"


def _overview(measured: list[Measured], audit_share: float) -> str:
    strategies = [name for name in STRATEGIES if name != REFERENCE]
    saved = f"labels saved by {DEFAULT}", "the same with an audit"
    heads = ("images", *strategies, *saved, f"{DEFAULT}, accuracy with {BUDGETS[-1]} labels")
    lines = [_line(*heads), "|---" * len(heads) + "|"]
    for each in measured:
        by_name = {row.strategy: row for row in each.rows}
        gains = [_gain(by_name[name]) for name in strategies]
        saved = _share_saved(by_name[DEFAULT], 0.0), _share_saved(by_name[DEFAULT], audit_share)
        end = _marked(each.at_the_end)
        lines.append(_line(NAMES[each.images.name].split(" (")[0], *gains, *saved, end))
    return "\n".join(lines)


def _gain(row: Row) -> str:
    assert row.gain is not None
    return _marked(row.gain)


def _marked(gain: Comparison) -> str:
    text = as_points(gain.difference, signed=True)
    if gain.is_better:
        return f"**{text}**"
    return f"*{text}, worse*" if gain.is_worse else f"{text}, no difference"


def _share_saved(row: Row, audit_share: float) -> str:
    """Tell it at the highest level that both reached under every seed."""
    full = [reach for reach in row.reaches if reach.saved]
    if not full:
        return "–"
    reach = full[-1]
    ours, saved = _with_audit(reach, audit_share)
    told = f"{saved:+.0f}" if audit_share or not reach.saved else as_labels(reach.saved)
    return f"{told} of {ours + saved:.0f} at {reach.accuracy:.0%}"


def _with_audit(reach: Reach, audit_share: float) -> tuple[float, float]:
    """Return the labels spent, with those that only measure, and what they save against random."""
    assert reach.labels is not None
    assert reach.saved is not None
    spent = reach.labels.mean / (1 - audit_share)
    return spent, reach.labels.mean + reach.saved.mean - spent


def _areas(rows: list[Row]) -> str:
    lines = [_line("strategy", "area", "gain over random", "", "better"), "|---|---|---|---|---|"]
    for row in rows:
        if row.gain is None:
            lines.append(_line(f"**{row.strategy}**", as_points(row.aulc), "", "", ""))
        else:
            wins = f"{row.gain.wins} of {row.gain.difference.n}"
            lines.append(
                _line(row.strategy, as_points(row.aulc), _gain(row), chance(row.gain), wins)
            )
    return "\n".join(lines)


def _labels(rows: list[Row], audit_share: float) -> str:
    """Tell the levels that random's mean curve crosses."""
    random = next(row for row in rows if row.strategy == REFERENCE)
    first, last = random.curve[0][1].mean, random.curve[-1][1].mean
    shown = [i for i, level in enumerate(LEVELS) if first < level <= last]
    heads = [f"labels to {100 * LEVELS[i]:.0f} %" for i in shown]
    lines = [_line("strategy", *heads), "|---" * (len(shown) + 1) + "|"]
    for row in rows:
        lines.append(_line(row.strategy, *(_took(row.reaches[i]) for i in shown)))
        if row.strategy == DEFAULT:
            audited = [_took(row.reaches[i], audit_share) for i in shown]
            lines.append(_line(f"{DEFAULT}, {audit_share:.0%} audit", *audited))
    return "\n".join(lines)


def _took(reach: Reach, audit_share: float = 0.0) -> str:
    if reach.labels is None:
        return "–"
    text = f"{reach.labels.mean / (1 - audit_share):.0f}"
    if reach.reached < reach.seeds:
        text += f" on {reach.reached} of {reach.seeds}"
    if reach.saved is None:
        return text
    if not audit_share:
        return f"{text}, saved {as_labels(reach.saved)}"
    return f"{text}, saved {round(_with_audit(reach, audit_share)[1]):+d}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _processor() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()


def _as_json(measured: list[Measured], command: str) -> dict[str, Any]:
    return {
        "command": command,
        "sets": {
            each.images.name: {
                "features": each.images.features,
                "images": len(each.images.labels_N),
                "rows": [asdict(row) for row in each.rows],
                "advice": asdict(each.advice),
                "at_the_end": asdict(each.at_the_end),
            }
            for each in measured
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing and write the results."""
    options = _parser().parse_args(arguments)
    sets = options.sets.split(",")
    measured = [
        measure(load_set(name, options), options.seeds, options.jobs, options.cache)
        for name in sets
    ]
    command = f"python -m benchmarks.worth {' '.join(arguments or sys.argv[1:])}"
    audit_share = NetworkSettings.model_fields["audit_share"].default
    text = f"```\n{command}\n```\n\n{page(measured, options.seeds, audit_share)}"
    print(text)
    if options.docs:
        results = Path(options.docs).parent / "results" / "worth.json"
        results.write_text(json.dumps(_as_json(measured, command), indent=1) + "\n")
        replace_between(options.docs, "<!-- worth: start -->", "<!-- worth: end -->", text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_set_options(parser)
    parser.set_defaults(sets="digits,eurosat2700,trashnet160,clothing160,cifar10")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--docs", type=Path, help="Markdown file whose tables to replace")
    return parser


if __name__ == "__main__":
    main()
