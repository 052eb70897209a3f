"""Our training loop against a bare PyTorch loop of the same network, batch and size.

    python -m benchmarks.training_speed --docs docs/fine-tuning.md

Both take the same forward, backward and AdamW steps on the same parameters. The bare loop's
pictures lie in memory as normalised tensors and it does nothing else; ours reads them from disk,
augments, clips, averages the weights and watches for losses that are no numbers. Repetitions take
turns, so that both meet the same weather on a shared machine. Both run in a process that keeps its
freed memory, as a fine-tune's does. On a CPU the ratio is of CPU seconds
(one thread), which other processes disturb less; what the clock says stands beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
import torchvision
from numpy.typing import NDArray
from PIL import Image

from benchmarks.learning_curve_report import replace_between
from benchmarks.ranking_speed_report import machine
from ml_backend.learning.augmentation import centred
from ml_backend.learning.backbones import Backbone
from ml_backend.learning.epochs import Epochs, Hooks
from ml_backend.learning.learner import Learner
from ml_backend.learning.memory import keep_freed_memory
from ml_backend.learning.picture_classifier import PictureClassifier
from ml_backend.learning.pictures import Pictures
from ml_backend.learning.preprocessing import Preprocessing
from ml_backend.learning.recipe import Recipe
from ml_backend.learning.torchvision_models import drop_last_layer

N_CLASSES = 10
START, END = "<!-- training-speed: start -->", "<!-- training-speed: end -->"


@dataclass(frozen=True)
class Timing:
    """One repetition."""

    images: int
    wall_s: float
    cpu_s: float
    data_wait_share: float = 0.0


class Stand:
    """One network on one device, with pictures on disk and the same in memory."""

    def __init__(self, name: str, device: str, recipe: Recipe, steps: int, folder: Path) -> None:
        self.device, self.recipe = torch.device(device), recipe
        self.backbone = _bare_backbone(name, self.device)
        self.rows = np.arange(steps * recipe.batch_size)
        self.labels_N = self.rows % N_CLASSES
        self.pictures = _noise_pictures(folder, self.backbone, len(self.rows))
        self.epochs = self._our_loop()
        self.bare_model, self.bare_optimizer = self._bare_loop()
        self.bare_batches = self._batches_in_memory()

    def ours(self) -> Timing:
        """Learn from every picture once."""
        steps = np.array_split(self.rows, len(self.bare_batches))
        history: dict[str, float] = {}

        def run() -> None:
            history.update(self.epochs.learn(1, steps))

        wall_s, cpu_s = self._timed(run)
        return Timing(len(self.rows), wall_s, cpu_s, history["data_wait_share"])

    def bare(self) -> Timing:
        """Do the same with nothing around it."""
        self.bare_model.train()

        def run() -> None:
            for inputs, targets in self.bare_batches:
                with torch.autocast(
                    self.device.type, torch.bfloat16, enabled=self.epochs.learner.mixed
                ):
                    logits_BC = self.bare_model(inputs)
                loss = F.cross_entropy(logits_BC.float(), targets, label_smoothing=0.1)
                loss.backward()
                self.bare_optimizer.step()
                self.bare_optimizer.zero_grad(set_to_none=True)

        return Timing(len(self.rows), *self._timed(run))

    def _timed(self, run: Callable[[], None]) -> tuple[float, float]:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        run()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - wall_s, time.process_time() - cpu_s

    def _our_loop(self) -> Epochs:
        model = PictureClassifier.of(self.backbone, N_CLASSES, None)
        learner = Learner(model, self.recipe, self.device, steps=1000)
        weights_C = np.ones(N_CLASSES, np.float32)
        return Epochs(
            learner, self.pictures, self.labels_N, weights_C, self.backbone.preprocessing, Hooks()
        )

    def _bare_loop(self) -> tuple[PictureClassifier, torch.optim.Optimizer]:
        model = PictureClassifier.of(self.backbone, N_CLASSES, None)
        model.to(self.device).to(memory_format=torch.channels_last)
        model.choose_trained(self.recipe)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return model, torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def _batches_in_memory(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [
            (
                centred(
                    torch.from_numpy(self.pictures.rows(rows)).to(self.device),
                    self.backbone.preprocessing,
                ),
                torch.from_numpy(self.labels_N[rows]).to(self.device),
            )
            for rows in np.split(self.rows, len(self.rows) // self.recipe.batch_size)
        ]


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one record per network and device."""
    records = []
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        for name in options.networks:
            recipe = Recipe(batch_size=options.batch_size, augment=options.augment)
            with tempfile.TemporaryDirectory(prefix="training-speed-") as folder:
                stand = Stand(name, device, recipe, options.steps, Path(folder) / "pictures")
                stand.bare(), stand.ours()
                pairs = [(stand.bare(), stand.ours()) for _ in range(options.repetitions)]
            records.append({"network": name, "device": device, **_summary(pairs, device)})
            print(json.dumps(records[-1]), file=sys.stderr, flush=True)
    return records


def table(records: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| network | device | bare, images/s | ours, images/s | ours / bare | by the clock "
        "| waiting for data |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in records:
        lines.append(
            f"| {record['network']} | {record['device']} | {record['bare']:.1f} "
            f"| {record['ours']:.1f} | **{record['ratio']:.2f}** "
            f"({record['lowest']:.2f}–{record['highest']:.2f}) | {record['wall_ratio']:.2f} "
            f"| {100 * record['data_wait_share']:.1f} % |"
        )
    return "\n".join(lines)


def _summary(pairs: list[tuple[Timing, Timing]], device: str) -> dict[str, Any]:
    """Take medians; a ratio is the median of the pairs' own."""

    def seconds(timing: Timing) -> float:
        return timing.cpu_s if device == "cpu" else timing.wall_s

    def median(values: list[float]) -> float:
        return float(np.median(values))

    ratios = [seconds(bare) / seconds(ours) for bare, ours in pairs]
    return {
        "bare": median([bare.images / seconds(bare) for bare, _ in pairs]),
        "ours": median([ours.images / seconds(ours) for _, ours in pairs]),
        "ratio": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "wall_ratio": median([bare.wall_s / ours.wall_s for bare, ours in pairs]),
        "data_wait_share": median([ours.data_wait_share for _, ours in pairs]),
        "repetitions": len(pairs),
    }


def _bare_backbone(name: str, device: torch.device) -> Backbone:
    """Build a network with random weights: as fast as any."""
    network = torchvision.models.get_model(name, weights=None)
    dim = drop_last_layer(network)
    network = network.eval().requires_grad_(False).to(device)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Backbone(
        network, Preprocessing(256, 224, mean, std), device, dim, name, False, architecture=name
    )


def _noise_pictures(folder: Path, backbone: Backbone, n: int) -> Pictures:
    rng = np.random.default_rng(0)
    items = []
    for _ in range(n):
        pixels_HWC: NDArray[np.uint8] = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(pixels_HWC).save(buffer, "BMP")
        data = buffer.getvalue()
        items.append((sha256(data).hexdigest(), lambda data=data: data))
    return Pictures.prepare(folder, backbone, items, 10**6, 2)


def main() -> None:
    """Measure, print, and write JSON and the docs' table."""
    options = _options()
    torch.set_num_threads(options.threads)
    if not options.free_memory:
        keep_freed_memory()
    records = measure(options)
    command = "python -m benchmarks.training_speed " + " ".join(sys.argv[1:])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    whole = {"command": command, "machine": machine(), "records": records}
    options.out.write_text(json.dumps(whole, indent=1) + "\n")
    text = (
        f"```\n{command}\n```\n\n{table(records)}\n\n{machine()} torch {torch.__version__}, "
        f"batches of {options.batch_size}, 224 px, augment={options.augment}, medians of "
        f"{options.repetitions} turns (lowest and highest in brackets)."
    )
    print(text)
    if options.docs:
        replace_between(options.docs, START, END, text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    networks = ["squeezenet1_1", "mobilenet_v3_small"]
    parser.add_argument("--networks", nargs="+", default=networks, help="torchvision's names")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="a repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--augment", default=Recipe().augment)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--free-memory", action="store_true", help="give freed memory back, to see what that costs"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/results/training_speed.json"))
    parser.add_argument("--docs", type=Path, help="Markdown file whose table to replace")
    return parser.parse_args()


if __name__ == "__main__":
    main()
