"""Which network looks at the demo's images: a pretrained one where its weights can be had."""

from __future__ import annotations

import os

from ml_backend.errors import WeightsUnavailable
from ml_backend.settings import Settings
from scripts.demonstration.stage import Stage

VARIABLE = "ACTIVE_LABELER_BACKBONE"


def choose_backbone(stage: Stage, settings: Settings) -> str:
    """Return the backbone that was set, or the first start's, or choose one now.

    Says so where the pretrained weights cannot be had, and nothing pretrained is used.
    """
    if VARIABLE in os.environ:
        stage.memory.backbone = settings.backbone
    elif not stage.memory.backbone:
        stage.memory.backbone = _pretrained_or_scratch(stage, settings)
    stage.remember()
    return stage.memory.backbone


def _pretrained_or_scratch(stage: Stage, settings: Settings) -> str:
    from ml_backend.learning.backbones import load_backbone  # torch takes seconds to import

    try:
        with stage.console.status(f"Loading {settings.backbone} ..."):
            load_backbone(settings.backbone, settings.weights, settings.device, seed=settings.seed)
    except WeightsUnavailable as error:
        stage.console.print(
            f"[bold]No pretrained weights:[/bold] {error}\n"
            "This demo goes on with [bold]scratch[/bold], a small network trained from scratch on "
            "the project's own images, without labels. A pretrained one is better on photographs."
        )
        return "scratch"
    return settings.backbone
