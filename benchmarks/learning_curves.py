"""What each query strategy is worth: accuracy against labels, over seeds, against random.

    python -m benchmarks.learning_curves --seeds 5 --out docs/results --docs docs/strategies.md

Per image set and seed: a quarter of the images is held out for testing; the rest is the pool. Every
strategy starts with nothing labeled, with what it does in that case (its cold start), and is asked
again at budgets C, 2C, 5C, 10C, 20C, 40C and 80C, for C classes. The head is the live loop's.
In the mode `once` all start with the same 5C labels, each is asked for one ranking, and 40C more
labels are taken along it without ranking again: the worst that can happen to a queue.
Runs are kept one file each under --cache, so that an interrupted benchmark goes on where it ended.

Who has added or changed a strategy runs it alone, against random, and puts its rows into the kept
results; rows of another machine are refused unless random comes out the same there:

    python -m benchmarks.learning_curves --headline-seeds 10 --only NAME --merge --docs PAGE

A set is a folder under --data, or FOLDER@BACKBONE for another backbone than --backbone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import CONTENDERS, HEADLINE, chosen
from benchmarks.image_sets import (
    CIFAR10,
    CIFAR10_ARCHIVE,
    ImageSet,
    load_digits_set,
    load_image_set,
    unpack_cifar10,
)
from benchmarks.learning_curve_report import write_report
from ml_backend.simulation.replay import Contender, accuracy, fitted, ranked, replay, split

BUDGETS_IN_CLASSES = (1, 2, 5, 10, 20, 40, 80)
ONCE_START, ONCE_MORE = 5, (1, 2, 5, 10, 20, 40)  # in classes: labels at first, and then
RERANKED, ONCE = "reranked", "once"
RUN_FORMAT = 4  # raise it when a change here or in a strategy makes old runs incomparable


# The state dict of each backbone, under --data.
WEIGHTS = {
    "squeezenet1_1": "squeezenet1_1_caffe_fp16.pth",
    "mobilenet_v2": "mobilenet_v2_tf2_torchvision_fp16.pth",
}


def learning_curve(image_set: ImageSet, contender: Contender, seed: int) -> dict[str, Any]:
    """Label along one strategy's ranking; return the accuracy on the held-out part per budget."""
    pool_P, _ = split(image_set.labels_N, seed)
    budgets = list(_budgets(len(image_set.classes), len(pool_P)))
    curve = replay(image_set, contender, budgets, seed)
    return {"budgets": budgets, "accuracies": list(curve.accuracies)}


def static_curve(image_set: ImageSet, contender: Contender, seed: int) -> dict[str, Any]:
    """Start with 5C labels, rank once, label along the ranking; accuracies as above."""
    pool_P, test_T = split(image_set.labels_N, seed)
    n_classes = len(image_set.classes)
    start = Contender("start", "maxherding")
    none = np.empty(0, dtype=np.int64)
    first = ranked(image_set, start, pool_P, none, None, ONCE_START * n_classes, seed)
    labeled = pool_P[first[: ONCE_START * n_classes]]
    head = fitted(image_set, labeled, None, seed)
    open_rows = np.setdiff1d(pool_P, labeled)
    more = [c * n_classes for c in (0, *ONCE_MORE) if c * n_classes <= len(open_rows)]
    order = ranked(image_set, contender, open_rows, labeled, head, more[-1], seed)
    accuracies = []
    for n in more:
        rows = np.concatenate([labeled, open_rows[order[:n]]])
        head = fitted(image_set, rows, head, seed)
        accuracies.append(accuracy(image_set, head, test_T))
    return {"budgets": [len(labeled) + n for n in more], "accuracies": accuracies}


def _budgets(n_classes: int, pool_size: int) -> Iterator[int]:
    return (c * n_classes for c in BUDGETS_IN_CLASSES if c * n_classes <= pool_size)


# --- running them all, each once


@dataclass(frozen=True, slots=True)
class Seeds:
    """How many splits, from the first on; the headline has `headline` of them, if that is more."""

    first: int
    n: int
    headline: int = 0

    @property
    def all(self) -> range:
        """Return every seed that anybody has."""
        return range(self.first, self.first + max(self.n, self.headline))

    def of(self, mode: str, contender: Contender) -> range:
        """Return the seeds of one contender."""
        more = mode == RERANKED and contender.label in HEADLINE
        return self.all if more else range(self.first, self.first + self.n)


def run_all(
    image_sets: Iterable[ImageSet],
    contenders: Iterable[Contender],
    modes: Iterable[str],
    seeds: Seeds,
    cache: Path,
    processes: int,
) -> list[dict[str, Any]]:
    """Return one record per (mode, set, contender, seed), computing those that the cache lacks."""
    jobs = [
        (mode, image_set, contender, seed)
        for mode in modes
        for seed in seeds.all
        for image_set in image_sets
        for contender in contenders
        if seed in seeds.of(mode, contender)
        if mode == RERANKED or not contender.cold  # nobody starts by itself in the other mode
    ]
    files = [_run_file(cache, *job) for job in jobs]
    missing = [(job, file) for job, file in zip(jobs, files, strict=True) if not file.exists()]
    print(f"{len(jobs)} runs, {len(missing)} of them to do", file=sys.stderr)
    # One BLAS thread in each process: more would fight over the cores.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes, mp_context=_spawn()) as pool:
        running = [pool.submit(_run_to_file, *job, file) for job, file in missing]
        for done, future in enumerate(as_completed(running), start=1):
            print(f"{done}/{len(missing)} {future.result()}", file=sys.stderr)
    return [json.loads(file.read_text()) for file in files]


def _spawn() -> Any:
    import multiprocessing

    return multiprocessing.get_context("spawn")


def _run_file(cache: Path, mode: str, image_set: ImageSet, contender: Contender, seed: int) -> Path:
    slug = "".join(c if c.isalnum() else "-" for c in contender.label)
    name = f"{mode}-{image_set.name}-{image_set.features.replace(' ', '-')}-{slug}-{seed}.json"
    return cache / f"runs-{RUN_FORMAT}" / name


def _run_to_file(
    mode: str, image_set: ImageSet, contender: Contender, seed: int, file: Path
) -> str:
    curve = learning_curve if mode == RERANKED else static_curve
    record = {
        "mode": mode,
        "set": image_set.name,
        "features": image_set.features,
        "contender": contender.label,
        "seed": seed,
        "classes": len(image_set.classes),
        **curve(image_set, contender, seed),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(record))
    part.replace(file)
    last = f"{record['accuracies'][-1]:.3f}"
    return f"{mode}, {image_set.name}, {contender.label}, seed {seed}: {last} at the end"


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing and write the report."""
    options = _parser().parse_args(arguments)
    records = run_all(
        [load_set(name, options) for name in options.sets.split(",")],
        chosen(options.only),
        options.modes.split(","),
        Seeds(options.first_seed, options.seeds, options.headline_seeds),
        options.cache,
        options.processes,
    )
    command = "python -m benchmarks.learning_curves " + " ".join(arguments or sys.argv[1:])
    write_report(
        records,
        command=command,
        out=options.out,
        docs=options.docs,
        name=options.name,
        keep=[contender.label for contender in CONTENDERS] if options.merge else None,
    )


def load_set(spec: str, options: argparse.Namespace) -> ImageSet:
    """Load one of --sets by the options of `add_set_options`."""
    name, _, backbone = spec.partition("@")
    if name == "digits":
        return load_digits_set()
    backbone = backbone or options.backbone
    weights = options.weights or str(options.data / "weights" / WEIGHTS[backbone])
    folder = options.data / name
    if name == CIFAR10:
        folder = unpack_cifar10(options.data / name / CIFAR10_ARCHIVE, options.cache)
    return load_image_set(
        folder, backbone, weights, options.cache, lambda text: print(text, file=sys.stderr)
    )


def add_set_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which image sets, where they lie and what embeds them."""
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    given = os.environ.get("ACTIVE_LABELER_SHARED_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "active-labeler"
    parser.add_argument("--sets", default="digits,eurosat2700,trashnet160,clothing160")
    parser.add_argument("--data", type=Path, default=Path(given) if given else shared)
    parser.add_argument("--backbone", default="squeezenet1_1")
    parser.add_argument(
        "--weights", default="", help="its state dict; default: the one under --data"
    )
    parser.add_argument("--cache", type=Path, default=cache, help="embeddings and finished runs")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_set_options(parser)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--headline-seeds", type=int, default=0, help="for the default and its peers"
    )
    parser.add_argument("--modes", default=f"{RERANKED},{ONCE}")
    parser.add_argument("--only", default="", help="strategies to run, beside random")
    parser.add_argument(
        "--merge", action="store_true", help="keep the other rows of the results in --out"
    )
    parser.add_argument(
        "--name", default="learning-curves", help="of the results, and of their place in --docs"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--docs", type=Path, help="Markdown file whose table to replace")
    return parser


if __name__ == "__main__":
    main()
