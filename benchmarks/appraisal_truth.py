"""Whether the appraisal's intervals hold what they promise: simulated projects against the truth.

    python -m benchmarks.appraisal_truth --seeds 40 --docs docs/appraisal.md

Per image set and seed a project is labeled by the default queue and by one that is random itself,
looked at with few labels and with more, and each interval is held against what heads on the same
labels do on images that were never part of the project (see project_simulation). Projects are kept
one file each under --cache, so that an interrupted benchmark goes on where it ended, and another
statistic of the same heads needs none of them again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.appraisal_truth_report import write_report
from benchmarks.image_sets import ImageSet
from benchmarks.learning_curves import add_set_options, load_set
from benchmarks.planted_errors import planted_errors
from benchmarks.project_simulation import (
    MOMENTS,
    QUEUE,
    RANDOM,
    SIZES,
    Arrays,
    arms,
    curves,
    reduced,
    truth_of_random,
)
from ml_backend.appraisal.curve_findings import FARTHEST
from ml_backend.appraisal.curves import RandomArm
from ml_backend.appraisal.labels_saved import random_labels, told
from ml_backend.appraisal.saving import compare, reaching
from ml_backend.appraisal.stopping import NEXT_LABELS, gain_of_next
from ml_backend.learning.evaluation import proportion

CELL_FORMAT = 1  # raise it when a change here makes kept projects incomparable


def judged(
    cell: Arrays, truth: Arrays, queue: str, labels: int, held_out: int, n_classes: int
) -> dict[str, Any]:
    """Hold one project at one moment against the truth."""
    right_SH = cell[f"{queue}.audit"][:, :held_out]
    fresh_S = cell[f"{queue}.fresh"].mean(axis=1)
    here = int(np.flatnonzero(labels == SIZES)[0])
    accuracy = proportion(int(right_SH[here].sum()), held_out)
    gain = gain_of_next(
        SIZES[: here + 1], right_SH[: here + 1], rng=np.random.default_rng(0), more=NEXT_LABELS
    )
    later = int(np.flatnonzero(labels + NEXT_LABELS == SIZES)[0])
    true_gain = float(fresh_S[later] - fresh_S[here])
    assert gain is not None
    return {
        "accuracy": _against(accuracy.low, accuracy.high, float(fresh_S[here])),
        "gain": _against(gain.low, gain.high, true_gain),
        "saved": _judged_saving(cell, truth, queue, labels, held_out, n_classes),
    }


def _judged_saving(
    cell: Arrays, truth: Arrays, queue: str, labels: int, held_out: int, n_classes: int
) -> dict[str, Any]:
    arm = _arm(cell, held_out, n_classes)
    sizes = np.flatnonzero(min(labels, FARTHEST * arm.n_labels) >= SIZES)
    right_SH = cell[f"{queue}.audit"][sizes, :held_out]
    saving = compare(SIZES[sizes], right_SH, arm, rng=np.random.default_rng(0))
    said = told(saving, held_out)
    # The same images test both, so that the truth's own error is small.
    gap_SF = cell[f"{queue}.fresh"][sizes] - truth[str(held_out)][cell["fresh"]]
    needed = float(reaching(SIZES[sizes], gap_SF.mean(axis=1)[None])[0])
    true = arm.n_labels - needed  # -inf: not reached with all labels
    low = -np.inf if said["low"] is None else said["low"] - 0.5  # they are rounded
    high = np.inf if said["high"] is None else said["high"] + 0.5
    measured = said["state"] == "measured"
    return {
        "covered": bool(low <= true <= high),
        "width": float(min(high, arm.n_labels) - max(low, arm.n_labels - SIZES[sizes][-1])),
        "measured": measured,
        "claims_saving": measured and said["value"] > 0,
        "false": measured and bool((said["value"] > 0) != (true > 0)),
        "true": None if np.isinf(true) else true,
        "random_labels": arm.n_labels,
    }


def _arm(cell: Arrays, held_out: int, n_classes: int) -> RandomArm:
    return RandomArm(
        random_labels(held_out, n_classes),
        cell[f"right{held_out}"],
        float(cell[f"variance{held_out}"]),
    )


def _against(low: float | None, high: float | None, true: float) -> dict[str, Any]:
    assert low is not None
    assert high is not None
    return {"covered": bool(low <= true <= high), "width": high - low, "true": true}


def run_all(
    image_sets: Iterable[ImageSet],
    seeds: int,
    flip_seeds: int,
    cache: Path,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Return one record per set, seed, queue and moment; simulate the projects that are missing."""
    sets = {image_set.name: image_set for image_set in image_sets}
    truths = {
        name: _kept(cache, f"{name}-truth-of-random", truth_of_random, each)
        for name, each in sets.items()
    }
    records = []
    for seed in range(seeds):
        for name, image_set in sets.items():
            cell = {
                **_kept(cache, f"{name}-{seed}", curves, image_set, seed),
                **_kept(cache, f"{name}-{seed}-arms", arms, image_set, seed),
            }
            records += [
                {
                    "set": name,
                    "seed": seed,
                    "queue": queue,
                    "labels": labels,
                    "held_out": held_out,
                    **judged(cell, truths[name], queue, labels, held_out, len(image_set.classes)),
                }
                for queue in (QUEUE, RANDOM)
                for labels, held_out in MOMENTS
            ]
            if seed < flip_seeds:
                flips = _kept(cache, f"{name}-{seed}-flips", planted_errors, image_set, seed)
                counts = {key: array.tolist() for key, array in flips.items()}
                records.append({"set": name, "seed": seed, **counts})
        progress(f"{seed + 1} of {seeds} seeds")
    return records


def _kept(cache: Path, name: str, compute: Callable[..., Arrays], *arguments: Any) -> Arrays:
    file = cache / f"appraisal-truth-{CELL_FORMAT}" / f"{name}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez_compressed(part, **compute(*arguments))
        part.replace(file)
    with np.load(file) as arrays:
        return dict(arrays)


def main(arguments: list[str] | None = None) -> None:
    """Simulate what is missing and write the report."""
    options = _parser().parse_args(arguments)
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    sets = [reduced(load_set(name, options)) for name in options.sets.split(",")]
    records = run_all(sets, options.seeds, options.flip_seeds, options.cache, say)
    command = "python -m benchmarks.appraisal_truth " + " ".join(arguments or sys.argv[1:])
    write_report(records, command=command, out=options.out, docs=options.docs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_set_options(parser)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--flip-seeds", type=int, default=10, help="of those with planted errors")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--docs", type=Path, help="Markdown file whose tables to replace")
    return parser


if __name__ == "__main__":
    main()
