"""From a pretrained network, pictures and labels to a network that knows this project.

The story of one fine-tune: split, start or go on from a checkpoint, learn epoch by epoch, keep the
weights that did best on rows that were not learned from. Knows no holdout: what it is given, it
may use.

After a fine-tune, embeddings of the pictures that the network learned from are tighter around
their classes than those of any others, and whatever is fitted or calibrated on them is too sure of
itself. `FineTuned.validation_rows` tells which rows it did not learn from (it chose when to stop by
them); calibrate on those, or better on pictures that were never here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from ml_backend.learning import weights
from ml_backend.learning.backbones import Backbone
from ml_backend.learning.distributed import ALONE, Distributed
from ml_backend.learning.epochs import Epochs, Hooks, Judgement, Progress
from ml_backend.learning.learner import Learner
from ml_backend.learning.picture_classifier import PictureClassifier, folded_classifier
from ml_backend.learning.pictures import Pictures, fingerprint
from ml_backend.learning.recipe import Recipe
from ml_backend.learning.run_checkpoint import latest_checkpoint, save_checkpoint
from ml_backend.learning.splits import class_weights, split, steps_of_epoch

__all__ = ["Distributed", "FineTuned", "Pictures", "Progress", "Recipe", "fine_tune"]

# Part of every fingerprint. Raise it when a change here or beside it changes what a run comes to.
TRAINING_REVISION = 2
# Enough to centre and scale features.
_ROWS_TO_SCALE_BY = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What a fine-tune came to.

    `state` is what the backbone's network's state_dict would be, on the CPU. The classifier takes
    its plain embeddings. `history` has a row for each epoch: epoch, train_loss, val_loss,
    val_accuracy (None without validation rows), learning_rate, seconds, images_per_s,
    data_wait_share. `validation_rows` were not learned from.
    """

    state: dict[str, Tensor]
    classifier_weight: Tensor
    classifier_bias: Tensor
    history: list[dict[str, Any]]
    validation_rows: NDArray[np.int64]
    best_epoch: int
    hardware: dict[str, Any]
    seconds: float


@dataclass
class _Course:
    """How far a run has come, and the best that it has been."""

    epoch: int
    history: list[dict[str, Any]]
    best_epoch: int
    best: dict[str, Tensor]  # of the model, on the CPU
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        return {"history": self.history, "best_epoch": self.best_epoch, "seconds": self.seconds}

    def ends(self, recipe: Recipe) -> bool:
        """Tell whether all epochs are done, or too many without a better one."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= recipe.epochs or (recipe.patience > 0 and waited >= recipe.patience)


def fine_tune(
    backbone: Backbone,
    pictures: Pictures,
    labels_N: NDArray[np.int64],
    n_classes: int,
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device | None = None,
    start: Mapping[str, Tensor] | None = None,
    classifier_start: tuple[Tensor, Tensor] | None = None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    interrupted: Callable[[], bool] = lambda: False,
    give_way: Callable[[], None] = lambda: None,
    process: Distributed | None = None,
) -> FineTuned:
    """Train a copy of the backbone's network on labeled pictures; `folder` holds checkpoints.

    `labels_N[i]` is the class row of picture i. `start` gives other weights to begin from,
    `classifier_start` weight (C, dim) and bias (C). Called again with the same arguments after a
    kill it goes on where it was, and on a CPU comes to exactly the same weights. Under torchrun
    every process calls this with the same arguments and its own `process`.

    Raises ConfigurationError for a network without the parts to train, Cancelled where
    `interrupted()` became true, TrainingDiverged, ValueError for labels that do not fit.
    """
    labels_N = np.asarray(labels_N, np.int64)
    _check(labels_N, len(pictures), n_classes)
    hooks = Hooks(on_progress, interrupted, give_way)
    training, validating = split(labels_N, pictures.hashes, recipe.validation_share, recipe.seed)
    model = PictureClassifier.of(backbone, n_classes, start)
    learner = Learner(
        model,
        recipe,
        device or backbone.device,
        recipe.epochs * -(-len(training) // recipe.batch_size),
        process or ALONE,
    )
    weights_C = class_weights(
        labels_N[training], n_classes, "loss" if recipe.class_balance == "loss" else "none"
    )
    run = _Run(
        Epochs(learner, pictures, labels_N, weights_C, backbone.preprocessing, hooks),
        training,
        validating,
        folder,
        _fingerprint(model, backbone, pictures, labels_N, n_classes, recipe, classifier_start),
    )
    course = run.resume() or run.begin(classifier_start)
    while not course.ends(recipe):
        run.advance(course)
    return _result(course, validating, learner)


@dataclass
class _Run:
    """One fine-tune in this process."""

    epochs: Epochs
    training: NDArray[np.int64]
    validating: NDArray[np.int64]
    folder: Path
    fingerprint: str

    def begin(self, classifier_start: tuple[Tensor, Tensor] | None) -> _Course:
        """Scale the features, as the first thing that sees them."""
        model = self.epochs.learner.model
        model.standardise(self.epochs.features(self.training[_spread(len(self.training))]))
        if classifier_start is not None:
            model.start_classifier(*classifier_start)
        self.epochs.learner.share_start()
        return _Course(0, [], 0, _copied(model.state_dict()))

    def resume(self) -> _Course | None:
        """Go on from the last checkpoint: what rank 0 finds decides for every process."""
        learner, process = self.epochs.learner, self.epochs.learner.process
        found = latest_checkpoint(self.folder, self.fingerprint) if process.writes else None
        words = process.words_from_rank_0(None if found is None else [found.epoch, found.facts])
        if words is None:
            return None
        epoch, facts = words
        learner.allocate_moments()
        state = _copied(learner.model.state_dict())
        best = {f"best/{name}": tensor for name, tensor in state.items()}
        expected = _copied(learner.tensors()) | best
        tensors = expected if found is None else found.tensors
        process.from_rank_0({name: tensors[name] for name in expected})
        learner.restore(tensors, facts["step"])
        self.epochs.steps_before = learner.step_number
        course = _Course(
            epoch,
            facts["history"],
            facts["best_epoch"],
            {name.removeprefix("best/"): tensors[name] for name in best},
            facts["seconds"],
        )
        self.epochs.last = _judged(course.history[-1])
        logger.info("The fine-tune goes on after epoch %d", epoch)
        return course

    def advance(self, course: _Course) -> None:
        """Learn for an epoch, judge it, and save."""
        began, recipe = self.epochs.hooks.clock(), self.epochs.learner.recipe
        course.epoch += 1
        steps = steps_of_epoch(self.epochs.labels_N, self.training, recipe, course.epoch)
        row: dict[str, Any] = {"epoch": course.epoch, **self.epochs.learn(course.epoch, steps)}
        self.epochs.learner.share_statistics()
        judged = self.epochs.judge(self.validating) if len(self.validating) else None
        row["val_loss"] = judged.loss if judged else None
        row["val_accuracy"] = judged.accuracy if judged else None
        self.epochs.last = judged
        if _is_best(course.history, judged, len(self.validating)):
            course.best_epoch = course.epoch
            course.best = _copied(self.epochs.learner.judged.state_dict())
        course.history.append(row)
        course.seconds += self.epochs.hooks.clock() - began
        self._save(course)
        _log(row, recipe)

    def _save(self, course: _Course) -> None:
        learner = self.epochs.learner
        if learner.process.writes:
            best = {f"best/{name}": tensor for name, tensor in course.best.items()}
            facts = {**course.facts(), "step": learner.step_number}
            save_checkpoint(
                self.folder, self.fingerprint, course.epoch, learner.tensors() | best, facts
            )


def _check(labels_N: NDArray[np.int64], n_pictures: int, n_classes: int) -> None:
    if labels_N.shape != (n_pictures,) or n_pictures == 0:
        raise ValueError(f"labels_N has shape {labels_N.shape}: expected ({n_pictures},), above 0")
    if not 0 <= labels_N.min() <= labels_N.max() < n_classes:
        raise ValueError(
            f"labels_N spans {labels_N.min()}..{labels_N.max()}: expected 0..{n_classes - 1}"
        )


def _fingerprint(
    model: PictureClassifier,
    backbone: Backbone,
    pictures: Pictures,
    labels_N: NDArray[np.int64],
    n_classes: int,
    recipe: Recipe,
    classifier_start: tuple[Tensor, Tensor] | None,
) -> str:
    """Name everything that decides what a run comes to, but for hardware."""
    begun_with = dict(model.network.state_dict())
    if classifier_start is not None:
        begun_with |= {"weight": classifier_start[0], "bias": classifier_start[1]}
    facts = {
        "revision": TRAINING_REVISION,
        "backbone": backbone.key,
        "start": weights.content_hash(begun_with),
        "pictures": fingerprint(pictures),
        "labels": hashlib.sha256(labels_N.tobytes()).hexdigest(),
        "n_classes": n_classes,
        "recipe": recipe.as_dict(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _is_best(history: list[dict[str, Any]], judged: Judgement | None, n_rows: int) -> bool:
    """Tell whether this epoch's weights are to be kept: the last one that is not tellably worse.

    Features go on getting better while a few dozen rows say little about it; and accuracy counts,
    not loss, which rises again as the classifier becomes too sure of itself
    (docs/fine-tuning.md). Without validation rows the last epoch is as good as any.
    """
    if judged is None:
        return True
    if not math.isfinite(judged.loss):
        return False
    highest = max([row["val_accuracy"] for row in history], default=0.0)
    return not tellably_worse(judged.accuracy, highest, n_rows)


def tellably_worse(accuracy: float, highest: float, n_rows: int) -> bool:
    """Tell whether an accuracy on n rows is below another by more than its standard error.

    The error is that of Laplace's estimate, for 30 right of 30 is not certain either.
    """
    share = (highest * n_rows + 1) / (n_rows + 2)
    return accuracy < highest - math.sqrt(share * (1 - share) / n_rows)


def _judged(row: Mapping[str, Any]) -> Judgement | None:
    return None if row["val_loss"] is None else Judgement(row["val_loss"], row["val_accuracy"])


def _spread(length: int) -> NDArray[np.int64]:
    """Choose rows evenly."""
    return np.unique(np.linspace(0, length - 1, min(length, _ROWS_TO_SCALE_BY)).astype(np.int64))


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _log(row: Mapping[str, Any], recipe: Recipe) -> None:
    logger.info("Fine-tune, epoch %d of %d: %s", row["epoch"], recipe.epochs, json.dumps(row))


def _result(course: _Course, validating: NDArray[np.int64], learner: Learner) -> FineTuned:
    weight_CD, bias_C = folded_classifier(course.best)
    state = {
        name.removeprefix("network."): tensor.contiguous()
        for name, tensor in course.best.items()
        if name.startswith("network.")
    }
    return FineTuned(
        state=state,
        classifier_weight=weight_CD,
        classifier_bias=bias_C,
        history=course.history,
        validation_rows=validating,
        best_epoch=course.best_epoch,
        hardware=_hardware(learner),
        seconds=course.seconds,
    )


def _hardware(learner: Learner) -> dict[str, Any]:
    gpu = learner.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(learner.device) if gpu else platform.machine(),
        "processes": learner.process.world_size,
        "threads": torch.get_num_threads(),
        "mixed_precision": learner.mixed,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
    }
