"""Which network looks at the demo's images: a pretrained one where its weights can be had."""

from __future__ import annotations

import os

from ml_backend.settings import Settings
from scripts.demonstration.stage import Stage
from scripts.run.servers import BACKBONE_VARIABLE
from scripts.run.servers import choose_backbone as pretrained_or_scratch


def choose_backbone(stage: Stage, settings: Settings) -> str:
    """Return the backbone that was set, or the first start's, or choose one now."""
    if BACKBONE_VARIABLE in os.environ:
        stage.memory.backbone = settings.backbone
    elif not stage.memory.backbone:
        stage.memory.backbone = pretrained_or_scratch(settings, stage.console)
    stage.remember()
    return stage.memory.backbone
