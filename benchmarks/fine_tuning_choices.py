"""Does fine-tuning beat a frozen network, and with which settings? One change at a time.

    python -m benchmarks.fine_tuning_choices --data ../shared/data --docs docs/fine-tuning.md

For each image set and seed, some pictures are labeled at random and others are for testing. The
frozen network's head is what every variant must beat: accuracy on the test pictures of a head
fitted on embeddings of the labeled ones, before and after fine-tuning, in points. Results are kept
in --out as they come; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.learning_curve_report import replace_between
from benchmarks.ranking_speed_report import machine
from ml_backend.learning.augmentation import centred
from ml_backend.learning.backbones import Backbone, load_backbone
from ml_backend.learning.finetuning import FineTuned, Pictures, Recipe, fine_tune
from ml_backend.learning.head import fit_head

MAX_PIXELS = 100_000_000
BATCH = 64
START, END = "<!-- fine-tuning-choices: start -->", "<!-- fine-tuning-choices: end -->"

# What each is changed in, against the defaults.
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no validation": {"validation_share": 0.0},
    "last stage": {"trained": "last_stage"},
    "rate 5e-4": {"learning_rate": 5e-4},
    "rate 2e-4": {"learning_rate": 2e-4},
    "rate 2e-3": {"learning_rate": 2e-3},
    "layer decay 0.65": {"layer_decay": 0.65},
    "layer decay 0.9": {"layer_decay": 0.9},
    "no average": {"ema_decay": 0.0},
    "no smoothing": {"label_smoothing": 0.0},
    "rate 5e-4, augment none": {"learning_rate": 5e-4, "augment": "none"},
    "rate 5e-4, augment photo": {"learning_rate": 5e-4, "augment": "photo"},
    "rate 5e-4, no validation": {"learning_rate": 5e-4, "validation_share": 0.0},
}


def main() -> None:
    """Measure what is missing, print the table, and put it into the docs."""
    options = _options()
    torch.set_num_threads(1)
    records = json.loads(options.out.read_text()) if options.out.exists() else []
    done = {_key(record) for record in records}
    for set_name in options.sets:
        for seed in options.seeds:
            with tempfile.TemporaryDirectory(prefix="choices-") as folder:
                stand = None
                for variant in options.variants or VARIANTS:
                    wanted = {
                        "set": set_name, "seed": seed, "labels": options.labels,
                        "variant": variant, "crop_px": options.crop_px,
                    }  # fmt: skip
                    if _key(wanted) in done:
                        continue
                    stand = stand or Stand(options, set_name, seed, Path(folder))
                    records.append(wanted | stand.measure(variant))
                    options.out.write_text(json.dumps(records, indent=1) + "\n")
                    print(json.dumps(records[-1]), file=sys.stderr, flush=True)
    text = tables(records)
    print(text)
    if options.docs:
        replace_between(options.docs, START, END, text)


class Stand:
    """One image set with its labeled and test pictures, and the frozen network."""

    def __init__(self, options: argparse.Namespace, set_name: str, seed: int, folder: Path) -> None:
        self.folder, self.seed = folder, seed
        self.backbone = _backbone(options)
        files = sorted((options.data / set_name).glob("*/*.jpg"))
        classes = sorted({file.parent.name for file in files})
        chosen = np.random.default_rng(seed).permutation(len(files))
        chosen = chosen[: options.labels + options.test]
        self.n_classes, self.labels = len(classes), options.labels
        items = [(sha256(files[i].read_bytes()).hexdigest(), files[i].read_bytes) for i in chosen]
        self.pictures = Pictures.prepare(folder / "all", self.backbone, items, MAX_PIXELS, 1)
        self.labeled = Pictures.prepare(
            folder / "labeled", self.backbone, items[: self.labels], MAX_PIXELS, 1
        )
        self.labels_N = np.array([classes.index(files[i].parent.name) for i in chosen])
        self.frozen = self.judge(self.backbone)

    def measure(self, variant: str) -> dict[str, Any]:
        """Fine-tune and compare with the frozen network."""
        recipe = replace(Recipe(seed=self.seed), **VARIANTS[variant])
        began = time.perf_counter()
        tuned = fine_tune(
            self.backbone,
            self.labeled,
            self.labels_N[: self.labels],
            self.n_classes,
            recipe,
            self.folder / "run",
        )
        seconds = time.perf_counter() - began
        return {
            "frozen": self.frozen,
            "tuned": self.judge(_with(self.backbone, tuned)),
            "best_epoch": tuned.best_epoch,
            "epochs": len(tuned.history),
            "train_loss": tuned.history[-1]["train_loss"],
            "seconds": seconds,
        }

    def judge(self, backbone: Backbone) -> float:
        """Fit a head on the labeled pictures; return its accuracy on the others."""
        embeddings_ND = _embeddings(backbone, self.pictures)
        n, labels_N = self.labels, self.labels_N
        head = fit_head(embeddings_ND[:n], labels_N[:n], self.n_classes)
        assert head is not None
        return float((head.probs(embeddings_ND[n:]).argmax(axis=1) == labels_N[n:]).mean())


def tables(records: list[dict[str, Any]]) -> str:
    """Return one table for each size of picture: gains at different sizes are not alike."""
    parts = []
    for crop_px in sorted({record["crop_px"] for record in records}):
        size = f"{crop_px} px" if crop_px else "the network's own size"
        of_it = [record for record in records if record["crop_px"] == crop_px]
        parts.append(f"At {size}:\n\n{table(of_it)}")
    return "\n\n".join(parts) + f"\n\n{machine()}\n"


def table(records: Iterable[dict[str, Any]]) -> str:
    """Return the Markdown table: gain over the frozen network, per set and overall."""
    records = list(records)
    sets = sorted({record["set"] for record in records})
    lines = ["| variant | " + " | ".join(sets) + " | mean gain | s | runs |"]
    lines.append("|---" * (len(sets) + 4) + "|")
    rows = []
    for variant in dict.fromkeys(record["variant"] for record in records):
        of_it = [record for record in records if record["variant"] == variant]
        cells = []
        for name in sets:
            gains = [_gain(record) for record in of_it if record["set"] == name]
            cells.append(f"{np.mean(gains):+.1f}" if gains else "–")
        mean = np.mean([_gain(record) for record in of_it])
        seconds = np.mean([record["seconds"] for record in of_it])
        cells += [f"{mean:+.1f}", f"{seconds:.0f}", str(len(of_it))]
        rows.append((-mean, f"| {variant} | " + " | ".join(cells) + " |"))
    lines += [line for _, line in sorted(rows)]
    frozen = ", ".join(
        f"{name} {100 * np.mean([r['frozen'] for r in records if r['set'] == name]):.1f} %"
        for name in sets
    )
    return "\n".join(lines) + f"\n\nThe frozen network's head: {frozen}."


def _gain(record: dict[str, Any]) -> float:
    return 100 * float(record["tuned"] - record["frozen"])


def _key(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("set", "seed", "labels", "variant", "crop_px"))


def _backbone(options: argparse.Namespace) -> Backbone:
    """Load it, looking at smaller pictures where asked: as good for comparing, and faster."""
    weights = options.weights or options.data / "weights" / "squeezenet1_1_caffe_fp16.pth"
    backbone = load_backbone(options.backbone, str(weights), "cpu", seed=0, threads=1)
    if not options.crop_px:
        return backbone
    smaller = replace(
        backbone.preprocessing, resize_px=options.crop_px * 8 // 7, crop_px=options.crop_px
    )
    return replace(backbone, preprocessing=smaller)


def _with(backbone: Backbone, tuned: FineTuned) -> Backbone:
    import copy

    network = copy.deepcopy(backbone.network)
    network.load_state_dict(tuned.state)
    return replace(backbone, network=network.eval())


def _embeddings(backbone: Backbone, pictures: Pictures) -> NDArray[np.float32]:
    blocks = []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH):
            rows = np.arange(start, min(start + BATCH, len(pictures)))
            inputs = centred(torch.from_numpy(pictures.rows(rows)), backbone.preprocessing)
            blocks.append(backbone.network(inputs).flatten(1).float().numpy())
    return np.concatenate(blocks)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["trashnet160", "clothing160"])
    parser.add_argument("--backbone", default="squeezenet1_1")
    parser.add_argument("--weights", type=Path, help="default: SqueezeNet's in the data folder")
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--test", type=int, default=700)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--crop-px", type=int, default=144, help="0: the network's own")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="default: all")
    parser.add_argument("--out", type=Path, default=Path("docs/results/fine_tuning_choices.json"))
    parser.add_argument("--docs", type=Path, help="Markdown file whose table to replace")
    return parser.parse_args()


if __name__ == "__main__":
    main()
