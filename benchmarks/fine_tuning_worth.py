"""What is fine-tuning worth? The whole loop on real pictures, with and without it.

For each image set and seed: a project of its pictures, an oracle that labels what the queue serves
(uherding, an audit task in ten), a round after every 20 labels; then one fine-tune, judged and
promoted or refused as anywhere else. Everything is the product's own code but for Label Studio,
whose place a fake one takes that is held to the same contract by tests.

The truth that the loop cannot see is measured beside it: on all pictures that nobody labeled, the
accuracy of the head before, of the challenger's, and of what orders the queue in the end.

    python -m benchmarks.fine_tuning_worth --seeds 3 --docs docs/fine-tuning.md

Runs are kept in a file each under --cache, so that an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning_curve_report import replace_between
from benchmarks.ranking_speed_report import machine
from ml_backend.learning.backbones import Backbone, load_backbone
from ml_backend.learning.preprocessing import InputChanges
from ml_backend.learning.recipe import Recipe
from ml_backend.steps.learn import fit_beside
from ml_backend.steps.situation import Situation, situate
from tests.fake_label_studio import FakeLabelStudio
from tests.loop import PLAN
from tests.tuning_loop import TuningLoop

LABELS_A_ROUND = 20
AUDIT_SHARE = 0.1
START, END = "<!-- fine-tuning-worth: start -->", "<!-- fine-tuning-worth: end -->"
RUN_FORMAT = 1  # raise it when a change makes old runs incomparable


@dataclass
class Files:
    """Serves the pictures of tasks from their files."""

    paths: dict[int, Path] = field(default_factory=dict)

    def read(self, task_id: int, _uri: str) -> bytes:
        return self.paths[task_id].read_bytes()


@dataclass
class Trial:
    """One project of one image set."""

    loop: TuningLoop
    truth: dict[int, str]

    def label(self, n: int) -> None:
        """Label what is served, one batch after the other, with a round after each."""
        self.loop.ask("connect")
        self.loop.run()
        while len(self.loop.server.annotation_table) < n:
            for task_id in self.loop.server.served_order(LABELS_A_ROUND):
                self.loop.label(task_id, self.truth[task_id])
            self.loop.run()

    def accuracy(self, model: str | None) -> float:
        """Measure a model's head on the pictures that nobody labeled."""
        backbone, learned_from = self.loop.backbone_of(model)
        bench = self.loop.workbench(self.loop.project_id, lambda: None)
        cache = self.loop.cache_of(backbone)
        situation = self.situation()
        self.embed(situation, backbone)
        head = fit_beside(bench, situation, cache, learned_from)
        assert head is not None
        said_N = head.probs(cache.rows(situation.ranked_hashes)).argmax(axis=1)
        classes = bench.project.control.classes
        right = [
            classes[said] == self.truth[task_id]
            for said, task_id in zip(said_N.tolist(), situation.ranked_ids.tolist(), strict=True)
        ]
        return float(np.mean(right))

    def situation(self) -> Situation:
        bench = self.loop.workbench(self.loop.project_id, lambda: None)
        mirror = self.loop.store.mirror(self.loop.project_id)
        return situate(mirror, bench.project.control, bench.holdout)

    def embed(self, situation: Situation, backbone: Backbone) -> None:
        from ml_backend.steps.embed import embed_beside

        bench = self.loop.workbench(self.loop.project_id, lambda: None)
        tasks = [*situation.ranked_ids.tolist(), *situation.labeled_ids_M.tolist()]
        embed_beside(bench, backbone, self.loop.cache_of(backbone), tasks, lambda _d, _t: None)


def run(name: str, seed: int, options: argparse.Namespace, backbone: Backbone) -> dict[str, Any]:
    """Run one project to its fine-tune and return what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        trial = make_trial(options.data / name, seed, options, backbone, Path(folder))
        trial.label(options.labels)
        situation = trial.situation()
        before = trial.accuracy(None)
        start = time.perf_counter()
        ended = trial.loop.fine_tune()
        seconds = time.perf_counter() - start
        trial.loop.run()
        outcome = trial.loop.outcome()
        challenger = outcome.get("model")
        return {
            "set": name,
            "seed": seed,
            "pictures": len(trial.truth),
            "trained_on": len(situation.labeled_ids_M),
            "held_out": len(situation.holdout_ids_H),
            "measured_on": len(situation.ranked_ids),
            "head_only": before,
            "challenger": trial.accuracy(challenger) if challenger else None,
            "in_the_end": trial.accuracy(trial.loop.model()),
            "ended": ended,
            "verdict": outcome.get("verdict"),
            "error": outcome.get("error"),
            "seconds": seconds,
        }


def make_trial(
    folder: Path, seed: int, options: argparse.Namespace, backbone: Backbone, state: Path
) -> Trial:
    """Make a project of at most `--pictures` pictures of the set, drawn by the seed."""
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in {".jpg", ".png"})
    rng = np.random.default_rng(seed)
    chosen = [files[row] for row in rng.permutation(len(files))[: options.pictures]]
    classes = sorted({path.parent.name for path in files})
    choices = "".join(f'<Choice value="{name}"/>' for name in classes)
    server = FakeLabelStudio(
        label_config='<View><Image name="image" value="$image"/>'
        f'<Choices name="kind" toName="image" choice="single">{choices}</Choices></View>'
    )
    images = Files()
    loop = TuningLoop(
        state,
        server=server,
        plan=replace(PLAN, seed=seed, window=200, batch_size=32, image_max_pixels=100_000_000),
        images=images,
        recipe=Recipe(**{**json.loads(options.recipe), "seed": seed}),
        pretrained=backbone,
        embeddings=options.cache / "embeddings",
    )
    loop.store.update_project(loop.project_id, audit_share=AUDIT_SHARE)
    images.paths = dict(zip(server.add_tasks(len(chosen)), chosen, strict=True))
    return Trial(loop, {task_id: path.parent.name for task_id, path in images.paths.items()})


def table(records: Sequence[dict[str, Any]], command: str, measured_on: str) -> str:
    """Write the docs' table."""
    lines = [
        f"```\n{command}\n```\n",
        "| set | seed | labels: trained on, held out | head only | challenger | in the end "
        "| verdict | decided by | p (needed) | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in records:
        verdict = r["verdict"] or {}
        test = verdict.get("cross_validation") or verdict.get("holdout") or {}
        p = f"{test['p_better']:.2g} ({test['significance']:.2g})" if test else "–"
        challenger = "–" if r["challenger"] is None else _points(r["challenger"], r["head_only"])
        lines.append(
            f"| {r['set']} | {r['seed']} | {r['trained_on']}, {r['held_out']} "
            f"| {100 * r['head_only']:.1f} | {challenger} "
            f"| **{100 * r['in_the_end']:.1f}** | {r['ended']} "
            f"| {verdict.get('decided_by', '–')} | {p} | {r['seconds'] / 60:.0f} |"
        )
    lines += ["", _summary(records), "", measured_on, ""]
    return "\n".join(lines)


def _points(value: float, before: float) -> str:
    return f"{100 * value:.1f} ({100 * (value - before):+.1f})"


def _summary(records: Sequence[dict[str, Any]]) -> str:
    said = []
    for name in dict.fromkeys(r["set"] for r in records):
        gains = [100 * (r["in_the_end"] - r["head_only"]) for r in records if r["set"] == name]
        spread = np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else float("nan")
        said.append(f"{name} {np.mean(gains):+.1f} ± {spread:.1f}")
    gains = ", ".join(said)
    return f"Mean gain of what orders the queue in the end, in points ± standard error: {gains}."


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing and write the table."""
    options = _parser().parse_args(arguments)
    inputs = InputChanges(size_px=options.side)
    backbone = load_backbone(
        options.backbone, options.weights, options.device, seed=0, inputs=inputs
    )
    records = []
    for seed in range(options.seeds):
        for name in options.sets.split(","):
            file = options.cache / f"fine-tuning-{RUN_FORMAT}" / _slug(name, seed, options)
            if not file.exists():
                print(f"{name}, seed {seed} ...", file=sys.stderr)
                file.parent.mkdir(parents=True, exist_ok=True)
                part = file.with_suffix(".part")
                part.write_text(json.dumps(run(name, seed, options, backbone), indent=1))
                part.replace(file)
            records.append(json.loads(file.read_text()))
            print(json.dumps({**records[-1], "verdict": None}), file=sys.stderr)
    records.sort(key=lambda record: record["set"])
    command = "python -m benchmarks.fine_tuning_worth " + shlex.join(arguments or sys.argv[1:])
    how = f"{options.backbone} at {options.side} px, {options.pictures} pictures a project. "
    text = table(records, command, how + machine())
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "fine_tuning_worth.json").write_text(json.dumps(records, indent=1))
    if options.docs:
        replace_between(options.docs, START, END, text)


def _slug(name: str, seed: int, options: argparse.Namespace) -> str:
    settings = f"{options.backbone}-{options.side}-{options.labels}-{options.pictures}"
    recipe = "".join(c if c.isalnum() else "-" for c in options.recipe).strip("-")
    return f"{name}-{settings}-{recipe or 'default'}-{seed}.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    given = os.environ.get("ACTIVE_LABELER_SHARED_DATA")
    shared = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "active-labeler"
    parser.add_argument("--sets", default="trashnet160,clothing160")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--pictures", type=int, default=1500, help="at most, of each set")
    parser.add_argument("--side", type=int, default=144, help="pixels that the network sees")
    parser.add_argument("--recipe", default="{}", help="changes to the recipe, as JSON")
    parser.add_argument("--data", type=Path, default=shared)
    parser.add_argument("--backbone", default="squeezenet1_1")
    parser.add_argument(
        "--weights", default=str(shared / "weights" / "squeezenet1_1_caffe_fp16.pth")
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cache", type=Path, default=cache, help="embeddings and finished runs")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--docs", type=Path, help="Markdown file whose table to replace")
    return parser


if __name__ == "__main__":
    main()
