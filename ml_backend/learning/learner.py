"""One step of training, and everything that remembers the steps before it.

Knows the model, its optimizer, the learning rate's course, the average of the weights and what to
do about losses that are no numbers. Does not know where pictures come from or when to stop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ml_backend.errors import TrainingDiverged
from ml_backend.learning.distributed import ALONE, Distributed
from ml_backend.learning.picture_classifier import PictureClassifier
from ml_backend.learning.recipe import Recipe

# One bad batch is skipped; as many as this in a row are no accident.
NOT_FINITE_IN_A_ROW = 5
SGD_MOMENTUM = 0.9


@dataclass
class Learner:
    """A model in training on one device. `step_number` counts steps done, skipped ones too."""

    model: PictureClassifier
    recipe: Recipe
    device: torch.device
    steps: int
    process: Distributed = ALONE
    step_number: int = 0
    not_finite: int = 0
    mixed: bool = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    average: AveragedModel | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Move the model to its device and prepare what trains it."""
        self.model.to(self.device).to(memory_format=torch.channels_last)
        groups = self.model.choose_trained(self.recipe)
        self.optimizer = optimizer_of(self.recipe, groups, self.device)
        self._parallel: nn.Module = self.process.wrap(self.model, self.device)
        if self.recipe.ema_decay:
            self.average = AveragedModel(self.model, multi_avg_fn=self._approach)
            self.average.requires_grad_(False)
        self.mixed = (
            self.recipe.amp == "auto"
            and self.device.type == "cuda"
            and torch.cuda.is_bf16_supported()
        )

    @property
    def judged(self) -> PictureClassifier:
        """Return the model whose weights count: the average where there is one."""
        if self.average is None or not int(self.average.n_averaged):
            return self.model
        module = self.average.module
        assert isinstance(module, PictureClassifier)
        return module

    def learn(self, inputs: Tensor, targets_B: Tensor, weights_B: Tensor, seed: int) -> Tensor:
        """Take one step on this process's share of a batch; return each picture's loss (B).

        `weights_B` sum to 1 over the shares of all processes. `seed` decides dropout. A step whose
        gradient is not finite changes nothing; raises TrainingDiverged after five in a row. The
        model must be in training mode.
        """
        mixed = torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)
        with _seeded(seed, self.device), mixed:
            logits_BC = self._parallel(inputs)
        losses_B = losses_of(self.recipe, logits_BC.float(), targets_B)
        # DDP divides the sum of the gradients by the number of processes.
        loss = (losses_B * weights_B).sum() * self.process.world_size
        loss.backward()  # type: ignore[no-untyped-call]
        self._apply()
        return losses_B.detach()

    def learning_rate(self) -> float:
        """Give the classifier's rate at this step: a warm-up, then a cosine down to zero."""
        warmup = max(1, round(self.recipe.warmup_share * self.steps))
        if self.step_number < warmup:
            return self.recipe.learning_rate * (self.step_number + 1) / (warmup + 1)
        done = (self.step_number - warmup) / max(1, self.steps - warmup)
        return self.recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor that the next step depends on. They are the live ones, not copies."""
        named = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            average = self.average.module.state_dict()
            named |= {f"average/{name}": tensor for name, tensor in average.items()}
        for name, parameter in self._learning():
            moments = self.optimizer.state.get(parameter, {})
            named |= {f"optimizer/{name}/{moment}": moments[moment] for moment in moments}
        return named

    def restore(self, tensors: Mapping[str, Tensor], step_number: int) -> None:
        """Go on from what `tensors` named. Raises KeyError for a name that is missing."""
        self.allocate_moments()
        with torch.no_grad():
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])
        self.step_number = step_number
        if self.average is not None:
            self.average.n_averaged.fill_(step_number)

    def share_start(self) -> None:
        """Begin from rank 0's weights in every process."""
        self.process.from_rank_0(self.model.state_dict())

    def share_statistics(self) -> None:
        """Take over what rank 0's layers have seen of their batches; gradients do not carry it."""
        self.process.from_rank_0(dict(self.model.named_buffers()))
        if self.average is not None:
            self.process.from_rank_0(dict(self.average.module.named_buffers()))

    def allocate_moments(self) -> None:
        """Give the optimizer the state that it would make in its first step.

        Laid out in memory as the parameters are, for its kernel walks both side by side.
        """
        sgd = self.recipe.optimizer == "sgd"
        names = ("momentum_buffer",) if sgd else ("exp_avg", "exp_avg_sq")
        for _, parameter in self._learning():
            moments: dict[str, Any] = {name: torch.zeros_like(parameter) for name in names}
            if not sgd:
                moments["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            self.optimizer.state[parameter] = moments

    def _learning(self) -> Iterable[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def _apply(self) -> None:
        """Clip and step, where the gradient is finite in every process (it is the same in all)."""
        parameters = [parameter for _, parameter in self._learning()]
        length = nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm or math.inf)
        rate = self.learning_rate()
        self.step_number += 1
        if bool(torch.isfinite(length)):
            self.not_finite = 0
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
        else:
            self.not_finite += 1
        self.optimizer.zero_grad(set_to_none=True)
        if self.not_finite >= NOT_FINITE_IN_A_ROW:
            raise TrainingDiverged(
                f"The loss or its gradient was not finite in {self.not_finite} steps in a row "
                f"(step {self.step_number} of {self.steps}, learning_rate={rate:.2g}): expected "
                "finite numbers; try a lower learning_rate"
            )

    def _approach(
        self,
        averages: tuple[Tensor, ...] | list[Tensor],
        currents: tuple[Tensor, ...] | list[Tensor],
        _n: object,
    ) -> None:
        """Move the averages towards the weights: far at first, or they would hold on to the start.

        The share follows the steps, min(decay, (1 + n) / (10 + n)), as in TensorFlow's.
        """
        decay = min(self.recipe.ema_decay, (1 + self.step_number) / (10 + self.step_number))
        with torch.no_grad():
            torch._foreach_lerp_(averages, currents, 1 - decay)


def optimizer_of(
    recipe: Recipe, groups: list[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """Build what the recipe asks for; the groups carry their weight decay and share of the rate."""
    fused = device.type in ("cpu", "cuda")
    rate = recipe.learning_rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=SGD_MOMENTUM, nesterov=True, fused=fused)
    return torch.optim.AdamW(groups, lr=rate, fused=fused)


def losses_of(recipe: Recipe, logits_BC: Tensor, targets_B: Tensor) -> Tensor:
    """Return each picture's loss (B)."""
    losses_B = F.cross_entropy(
        logits_BC, targets_B, reduction="none", label_smoothing=recipe.label_smoothing
    )
    if recipe.loss == "cross_entropy":
        return losses_B
    true_B = logits_BC.softmax(dim=1).gather(1, targets_B[:, None])[:, 0]
    # Not to 0: a power below 1 is infinitely steep there.
    return losses_B * (1 - true_B).clamp_min(1e-6) ** recipe.focal_gamma


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Make dropout follow from the seed, and leave torch's global random state as it was."""
    gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device.index or 0] if gpu else []):
        torch.default_generator.manual_seed(seed)
        if gpu:
            torch.cuda.manual_seed(seed)
        yield
