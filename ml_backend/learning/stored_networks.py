"""From a model in the registry to a network that embeds."""

from __future__ import annotations

import torch

from ml_backend.errors import CorruptFile
from ml_backend.learning.backbones import Backbone, choose_device, rebuild_backbone
from ml_backend.learning.registry import StoredModel


def backbone_of(stored: StoredModel, device: str) -> Backbone:
    """Build a stored model's backbone; downloads nothing.

    Raises CorruptFile where the weights are not those that the card tells of.
    """
    card = stored.card
    state = {name: torch.from_numpy(array) for name, array in stored.state.items()}
    described = f"{card.backbone_facts.get('architecture')}, model {card.name}"
    backbone = rebuild_backbone(card.backbone_facts, state, choose_device(device), described)
    if backbone.key != card.backbone_key:
        raise CorruptFile(
            f"model {card.name}: its network's key is {backbone.key}, its card says "
            f"{card.backbone_key}"
        )
    return backbone
