"""A backbone's network with a linear classifier on top, as it is trained.

Knows modules and which of them learn. Features are centred and scaled before the classifier, so
that one learning rate fits networks whose features are large and small; `classifier()` folds that
into the weights again, which then take the network's plain embeddings.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ml_backend.errors import CorruptFile
from ml_backend.learning.backbones import Backbone
from ml_backend.learning.recipe import Recipe
from ml_backend.learning.stages import batch_norms, parameter_groups, trained_blocks


class PictureClassifier(nn.Module):
    """Normalised pictures (B, 3, P, P) to logits (B, C). Owns its network."""

    centre_D: Tensor
    spread: Tensor

    def __init__(self, network: nn.Module, dim: int, n_classes: int) -> None:
        super().__init__()
        self.network = network
        # Not initialised by torch, which would draw from its global random state.
        self.linear = nn.utils.skip_init(nn.Linear, dim, n_classes)  # type: ignore[no-untyped-call]
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("centre_D", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(()))

    @classmethod
    def of(
        cls, backbone: Backbone, n_classes: int, start: Mapping[str, Tensor] | None
    ) -> PictureClassifier:
        """Copy the backbone's network, with other weights where `start` gives them.

        Raises CorruptFile where `start` is not a state of this network.
        """
        network = copy.deepcopy(backbone.network)
        if start is not None:
            try:
                network.load_state_dict(dict(start), strict=True)
            except RuntimeError as error:
                name = backbone.architecture
                raise CorruptFile(f"start is not a state of {name}: {error}") from error
        return cls(network, backbone.dim, n_classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Embed: (B, dim)."""
        embeddings: Tensor = self.network(inputs)
        return embeddings.flatten(1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Give logits."""
        centred_BD = (self.features(inputs) - self.centre_D) / self.spread
        logits_BC: Tensor = self.linear(centred_BD)
        return logits_BC

    def choose_trained(self, recipe: Recipe) -> list[dict[str, object]]:
        """Freeze what does not learn; return the optimizer's groups of what does."""
        chosen = trained_blocks(self.network, recipe)
        self.network.requires_grad_(False)
        for block, _ in chosen:
            for _, parameter in block:
                parameter.requires_grad_(True)
        if recipe.freeze_norm:
            for layer in batch_norms(self.network):
                layer.requires_grad_(False)
        return parameter_groups(chosen, self.linear, recipe)

    def train(self, mode: bool = True) -> PictureClassifier:
        """Switch to training, but for frozen parts: they keep statistics, and drop nothing."""
        super().train(mode)
        for module in self.network.modules() if mode else ():
            parameters = list(module.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
        if mode and not any(p.requires_grad for p in self.network.parameters()):
            self.network.eval()
        return self

    def standardise(self, features_MD: Tensor) -> None:
        """Centre on the features' mean, and bring their mean variance to 1."""
        self.centre_D.copy_(features_MD.mean(dim=0))
        variance = features_MD.var(dim=0, correction=0).mean()
        self.spread.copy_(variance.sqrt().clamp(min=1e-6))

    def start_classifier(self, weight_CD: Tensor, bias_C: Tensor) -> None:
        """Take a classifier of plain embeddings over."""
        with torch.no_grad():
            self.linear.weight.copy_(weight_CD * self.spread)
            self.linear.bias.copy_(bias_C + weight_CD.to(self.centre_D) @ self.centre_D)


def folded_classifier(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Give weight (C, dim) and bias (C) for plain embeddings, from a PictureClassifier's state."""
    weight_CD = state["linear.weight"] / state["spread"]
    return weight_CD, state["linear.bias"] - weight_CD @ state["centre_D"]
