"""What a fine-tune is told to do: which part of the network learns, how fast, for how long.

Knows ranges and reasons; no torch, so that settings and the web process may read it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ml_backend.errors import ConfigurationError

Trained = Literal["head", "last_stage", "all"]
Augment = Literal["none", "light", "photo", "overhead"]
ClassBalance = Literal["none", "loss", "sampler"]
Amp = Literal["auto", "off"]
Optimizer = Literal["adamw", "sgd"]
Loss = Literal["cross_entropy", "focal"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one fine-tune. The defaults are the measured ones of docs/fine-tuning.md.

    trained: "head" leaves the network alone; "last_stage" trains the last quarter of its blocks.
    batch_size: of all processes together, so that more processes give the same steps.
    optimizer: "sgd" has a momentum of 0.9 (Nesterov) and wants ten to a hundred times AdamW's rate.
    loss: "focal" is the cross-entropy of a picture times (1 - p) ** focal_gamma, where p is what
        its true class is given: what is learned already counts less (Lin et al., ICCV 2017).
    learning_rate: of the classifier; the network's blocks have less, the earlier the less.
    layer_decay: the rate of a block against that of the next, counted as if every network had
        twelve blocks, as ViT-B has, for which such values are published (BEiT: 0.65).
    warmup_share: of all steps; then a cosine down to zero.
    ema_decay: 0 switches the averaging of weights off; it sets in gradually.
    patience: so many epochs tellably below the best validation accuracy end the run; 0: never.
    clip_norm: the gradient's largest length; 0 does not clip.
    class_balance: "loss" weighs rare classes up, "sampler" shows them more often; both by the
        square root of the counts, for full balance repeats a handful of pictures all day.
    augment: "photo" has flips, crops and colours; "light" flips and gentle crops; "overhead" is
        for pictures without an up (satellites, microscopes): flips and quarter turns.
    freeze_norm: batch statistics of a few pictures are noise: keep those of the pretraining.
    """

    trained: Trained = "all"
    epochs: int = 12
    batch_size: int = 32
    optimizer: Optimizer = "adamw"
    loss: Loss = "cross_entropy"
    focal_gamma: float = 2.0
    learning_rate: float = 1e-3
    layer_decay: float = 0.8
    weight_decay: float = 0.02
    warmup_share: float = 0.1
    label_smoothing: float = 0.1
    ema_decay: float = 0.98
    patience: int = 5
    clip_norm: float = 1.0
    class_balance: ClassBalance = "none"
    augment: Augment = "light"
    amp: Amp = "auto"
    freeze_norm: bool = True
    validation_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises ConfigurationError naming field, value and range."""
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise _refusal(name, getattr(self, name), "one of " + ", ".join(allowed))
        for name in _WHOLE:
            if not isinstance(getattr(self, name), int):
                raise _refusal(name, getattr(self, name), "a whole number")
        for name, (low, high, words) in _RANGES.items():
            if not low <= getattr(self, name) <= high:  # also refuses NaN
                raise _refusal(name, getattr(self, name), words)
        if not isinstance(self.freeze_norm, bool):
            raise _refusal("freeze_norm", self.freeze_norm, "true or false")

    def as_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)


_CHOICES: dict[str, tuple[str, ...]] = {
    "trained": get_args(Trained),
    "class_balance": get_args(ClassBalance),
    "augment": get_args(Augment),
    "amp": get_args(Amp),
    "optimizer": get_args(Optimizer),
    "loss": get_args(Loss),
}
_WHOLE = ("epochs", "batch_size", "patience", "seed")
_RANGES: dict[str, tuple[float, float, str]] = {
    "epochs": (1, 10_000, "1 to 10,000"),
    "batch_size": (1, 65_536, "1 to 65,536"),
    "focal_gamma": (0.0, 10.0, "0 (cross-entropy) to 10"),
    "learning_rate": (1e-9, 1.0, "above 0, at most 1"),
    "layer_decay": (1e-3, 1.0, "above 0, at most 1 (1: all blocks alike)"),
    "weight_decay": (0.0, 1.0, "0 to 1"),
    "warmup_share": (0.0, 0.9, "0 to 0.9"),
    "label_smoothing": (0.0, 0.5, "0 to 0.5"),
    "ema_decay": (0.0, 0.99999, "0 (off) to below 1"),
    "patience": (0, 10_000, "0 (never) to 10,000 epochs"),
    "clip_norm": (0.0, 1e6, "0 (off) or more"),
    "validation_share": (0.0, 0.5, "0 (none) to 0.5"),
    "seed": (0, 2**63 - 1, "0 to 2^63 - 1"),
}


def _refusal(name: str, value: object, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{name}={value!r}: expected {expected}")
