"""What is exported: labeled images, and those without a label, each with where it comes from.

Knows nothing of files. Human and model labels are kept apart from here on: no function of this
package takes both in one list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ml_backend.records import ChoiceControl

# What an export may hold besides its tables, which are always written.
FORMATS = ("csv", "folders", "label-studio", "coco", "huggingface")
WITH_IMAGES = frozenset({"folders", "huggingface"})


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """One task's image and its label.

    `confidence` is the model's calibrated probability of `label`, in [0, 1]; None for a person's.
    `content_hash` is the SHA-256 (hex) of the image's bytes as they were labeled or scored, None
    where they never were read. `split` is the side of the draw that the image is on: a model may
    learn from "train", and is measured on "holdout"; None where the image was never read.
    """

    task_id: int
    image_uri: str
    label: str
    source: Literal["human", "model"]
    confidence: float | None = None
    annotators: tuple[int, ...] = ()  # Label Studio's user ids
    split: Literal["train", "holdout"] | None = None
    content_hash: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A task that got no label, and why, in words for people."""

    task_id: int
    image_uri: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """Everything that one export says. Each task is in exactly one of the three tuples.

    `trust` is what the holdout says about the model's labels, `learning_curve` one row a round;
    both JSON-able, as are `project` and `model_card`.
    """

    project: Mapping[str, Any]
    control: ChoiceControl
    human: tuple[LabeledImage, ...]
    model: tuple[LabeledImage, ...]
    left_out: tuple[LeftOut, ...]
    threshold: float  # in [0, 1]; a model's label counts as sure from here on
    model_version: str
    trust: Mapping[str, Any]
    model_card: Mapping[str, Any]
    learning_curve: tuple[Mapping[str, Any], ...]
    made_at: str
    code_version: str

    def is_sure(self, image: LabeledImage) -> bool:
        """Tell whether a model's label reaches the threshold."""
        return image.confidence is not None and image.confidence >= self.threshold

    @property
    def sure(self) -> tuple[LabeledImage, ...]:
        """The model's labels at or above the threshold."""
        return tuple(image for image in self.model if self.is_sure(image))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the labeling config, then whatever else is a label here."""
        used = (image.label for image in (*self.human, *self.model))
        return tuple(dict.fromkeys((*self.control.classes, *used)))
