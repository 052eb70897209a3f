"""One pass over the pictures: to learn from them, or to be judged by them.

Knows pictures, labels, batches and the clock; asks between batches whether to stop and whether
somebody else needs the processor. What learns is the learner's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from numpy.typing import NDArray
from torch import Tensor

from ml_backend.errors import Cancelled
from ml_backend.learning.augmentation import centred, draw, shown
from ml_backend.learning.learner import Learner
from ml_backend.learning.picture_classifier import PictureClassifier
from ml_backend.learning.pictures import Pictures
from ml_backend.learning.preprocessing import Preprocessing

BATCHES_AHEAD = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a fine-tune is. Steps and epochs count from 1; `step` goes through the whole run."""

    epoch: int
    epochs: int
    step: int
    steps: int
    train_loss: float
    validation_loss: float | None
    validation_accuracy: float | None
    images_per_s: float
    eta_s: float  # to the last epoch; early stopping may spare some


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a caller does between batches. `give_way` may sleep; `clock` gives seconds."""

    on_progress: Callable[[Progress], None] = lambda _progress: None
    interrupted: Callable[[], bool] = lambda: False
    give_way: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.perf_counter


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a network does on pictures that it did not learn from; cross-entropy, share in [0, 1]."""

    loss: float
    accuracy: float


@dataclass
class Stopwatch:
    """Where the time of an epoch went: seconds waiting for pictures, and standing aside."""

    clock: Callable[[], float]
    started: float = 0.0
    waited: float = 0.0
    aside: float = 0.0

    def __post_init__(self) -> None:
        """Start."""
        self.started = self.clock()

    def working(self) -> float:
        """Give the seconds since the start, without those that were given away."""
        return max(self.clock() - self.started - self.aside, 1e-9)


@dataclass
class Epochs:
    """Goes through the pictures for one learner."""

    learner: Learner
    pictures: Pictures
    labels_N: NDArray[np.int64]
    weights_C: NDArray[np.float32]  # of the classes in the loss
    preprocessing: Preprocessing
    hooks: Hooks
    last: Judgement | None = None
    begun_at: float = field(init=False)
    steps_before: int = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock of this process, for the time that is left."""
        self.begun_at, self.steps_before = self.hooks.clock(), self.learner.step_number

    def learn(self, epoch: int, steps: Sequence[NDArray[np.int64]]) -> dict[str, float]:
        """Learn from each step's rows; return the loss, and where the time went, as history.

        Raises Cancelled, TrainingDiverged.
        """
        watch, tally = Stopwatch(self.hooks.clock), Tally()
        self.learner.model.train()
        shares = [self._share(rows) for rows in steps]
        fetches = [partial(self._augmented, epoch, share.rows) for share in shares]
        for number, (share, fetched) in enumerate(zip(shares, _ahead(fetches, watch), strict=True)):
            self._pause(watch)
            tally.add(self._step(share, fetched, seed=(epoch, number)), share)
            tally.images += len(steps[number])
            self._report(epoch, tally, watch)
        loss, weight = self.learner.process.total([tally.loss, tally.weight])
        seconds = watch.working()
        return {
            "train_loss": loss / weight if weight else float("inf"),
            "learning_rate": self.learner.learning_rate(),
            "seconds": seconds,
            "images_per_s": tally.images / seconds,
            "data_wait_share": watch.waited / seconds,
        }

    def judge(self, rows: NDArray[np.int64]) -> Judgement:
        """Judge the learner's weights by rows that it did not learn from, as they are embedded."""
        process, sums = self.learner.process, [0.0, 0.0]
        whole = _cut(rows, self.learner.recipe.batch_size * process.world_size)
        mine = [some[process.rank :: process.world_size] for some in whole]
        for some, logits_BC in self._forward(self.learner.judged, mine):
            targets_B = self._targets(some)
            sums[0] += float(F.cross_entropy(logits_BC.double(), targets_B, reduction="sum"))
            sums[1] += float((logits_BC.argmax(dim=1) == targets_B).sum())
        loss, right = process.total(sums)
        return Judgement(loss / len(rows), right / len(rows))

    def features(self, rows: NDArray[np.int64]) -> Tensor:
        """Embed rows by the model as it is: (M, D), on its device."""
        model, batches = self.learner.model, _cut(rows, self.learner.recipe.batch_size)
        return torch.cat([out for _, out in self._forward(model, batches, model.features)])

    def _forward(
        self,
        model: PictureClassifier,
        batches: Sequence[NDArray[np.int64]],
        call: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Run the centre crops through the network, in single precision as the backbone does.

        Every process must come with as many batches, empty ones too, for they pause together.
        """
        watch = Stopwatch(self.hooks.clock)
        model.eval()
        fetched = _ahead([partial(self._fetch, some) for some in batches], watch)
        for some, pixels in zip(batches, fetched, strict=True):
            self._pause(watch)
            if len(some) == 0:
                continue
            with torch.no_grad():
                inputs = centred(self._moved(pixels), self.preprocessing)
                yield some, (call or model)(inputs).float()

    def _step(
        self, share: Share, fetched: tuple[Tensor, NDArray[np.float32]], seed: tuple[int, int]
    ) -> Tensor:
        recipe, process = self.learner.recipe, self.learner.process
        pixels, draws_BK = fetched
        inputs = shown(self._moved(pixels), draws_BK, recipe.augment, self.preprocessing)
        weights_B = torch.from_numpy(share.weights_B).to(self.learner.device)
        dropout_seed = np.random.SeedSequence([recipe.seed, *seed, process.rank])
        return self.learner.learn(
            inputs, self._targets(share.rows), weights_B, int(dropout_seed.generate_state(1)[0])
        )

    def _share(self, rows: NDArray[np.int64]) -> Share:
        """Take this process's part of a batch; a row without weight where there is none for it."""
        process = self.learner.process
        mine = rows[process.rank :: process.world_size]
        weight_B = self.weights_C[self.labels_N[rows]]
        share_B = weight_B[process.rank :: process.world_size] / weight_B.sum()
        if len(mine) == 0:
            return Share(rows[:1], np.zeros(1, np.float32))
        return Share(mine, share_B.astype(np.float32))

    def _augmented(self, epoch: int, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.float32]]:
        return self._fetch(rows), draw(self.learner.recipe.seed, epoch, rows)

    def _fetch(self, rows: NDArray[np.int64]) -> Tensor:
        pixels = torch.from_numpy(self.pictures.rows(rows))
        return pixels.pin_memory() if self.learner.device.type == "cuda" else pixels

    def _moved(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.learner.device, non_blocking=True)

    def _targets(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.labels_N[rows]).to(self.learner.device)

    def _pause(self, watch: Stopwatch) -> None:
        """Let others go first, and stop where somebody asked for it (in any process)."""
        before = self.hooks.clock()
        self.hooks.give_way()
        watch.aside += self.hooks.clock() - before
        if self.learner.process.any(self.hooks.interrupted()):
            raise Cancelled(
                f"The fine-tune was stopped in step {self.learner.step_number + 1} of "
                f"{self.learner.steps}; its finished epochs are kept."
            )

    def _report(self, epoch: int, tally: Tally, watch: Stopwatch) -> None:
        if not self.learner.process.writes:
            return
        step, steps = self.learner.step_number, self.learner.steps
        passed = self.hooks.clock() - self.begun_at
        self.hooks.on_progress(
            Progress(
                epoch=epoch,
                epochs=self.learner.recipe.epochs,
                step=step,
                steps=steps,
                train_loss=tally.loss / tally.weight if tally.weight else float("inf"),
                validation_loss=self.last.loss if self.last else None,
                validation_accuracy=self.last.accuracy if self.last else None,
                images_per_s=tally.images / watch.working(),
                eta_s=passed / (step - self.steps_before) * (steps - step),
            )
        )


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part of a batch. The weights of all shares sum to 1."""

    rows: NDArray[np.int64]
    weights_B: NDArray[np.float32]


@dataclass(slots=True)
class Tally:
    """The losses of an epoch so far; steps whose loss is no number do not count."""

    loss: float = 0.0
    weight: float = 0.0
    images: int = 0

    def add(self, losses_B: Tensor, share: Share) -> None:
        """Count a step in by its mean."""
        weights_B = torch.from_numpy(share.weights_B)
        loss, weight = float((losses_B.cpu() * weights_B).sum()), float(weights_B.sum())
        if np.isfinite(loss):
            self.loss += loss
            self.weight += weight


def _cut(rows: NDArray[np.int64], length: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + length] for start in range(0, len(rows), length)]


def _ahead(fetches: Sequence[Callable[[], T]], watch: Stopwatch) -> Iterator[T]:
    """Fetch batches in a thread, before they are asked for; time the waiting for them."""
    waiting: deque[Future[T]] = deque()
    left = iter(fetches)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        for fetch in islice(left, BATCHES_AHEAD):
            waiting.append(thread.submit(fetch))
        while waiting:
            before = watch.clock()
            fetched = waiting.popleft().result()
            watch.waited += watch.clock() - before
            for fetch in islice(left, 1):
                waiting.append(thread.submit(fetch))
            yield fetched
