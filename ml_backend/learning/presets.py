"""Backbones by what they are for: `fast`, `balanced`, `best`, and `scratch`.

A table to choose from. Knows names and numbers; loads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Preset:
    """A torchvision model with one of its weights, and what to expect of the two."""

    architecture: str
    weights: str
    description: str


# Sizes, operations (multiply-adds) and accuracies are those of torchvision's own tables.
PRESETS = {
    "fast": Preset(
        "mobilenet_v3_small",
        "IMAGENET1K_V1",
        "MobileNetV3 small: 2.5 M parameters (10 MB), 0.06 billion operations an image, 1,024 "
        "numbers an embedding, 67.7 % on ImageNet; for a CPU and a quick start, weakest on detail.",
    ),
    # V2's weights score higher on ImageNet, but label smoothing and mixup, which they were trained
    # with, make features worse for other data (Kornblith et al. 2021, arXiv:2010.16402).
    "balanced": Preset(
        "resnet50",
        "IMAGENET1K_V1",
        "ResNet-50: 25.6 M parameters (98 MB), 4.1 billion operations an image, 2,048 numbers an "
        "embedding, 76.1 % on ImageNet; for a small GPU, or some thousand images on a CPU.",
    ),
    # vit_b_16 with IMAGENET1K_SWAG_LINEAR_V1 may serve better, but not commercially: its licence.
    "best": Preset(
        "convnext_base",
        "IMAGENET1K_V1",
        "ConvNeXt base: 88.6 M parameters (338 MB), 15.4 billion operations an image, 1,024 "
        "numbers an embedding, 84.1 % on ImageNet; for a GPU, and far too slow without one.",
    ),
}
SCRATCH_DESCRIPTION = (
    "No download and no pretraining: a small network learned in seconds from the project's own "
    "images without labels, up to 256 numbers an embedding; better than raw pixels, clearly worse "
    "than pretrained weights."
)


def resolve(name: str, weights: str) -> tuple[str, str]:
    """Return the architecture and weights that are meant; DEFAULT are a preset's own weights."""
    preset = PRESETS.get(name)
    if preset is None:
        return name, weights
    return preset.architecture, preset.weights if weights == "DEFAULT" else weights


def names() -> tuple[str, ...]:
    """List the presets, the quickest first."""
    return (*PRESETS, SCRATCH)
