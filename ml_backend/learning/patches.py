"""The architecture of the `scratch` backbone: responses to small patches, pooled.

Knows torch alone. How its filters are learned is `scratch`'s affair.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn

ARCHITECTURE = "scratch-patches-1"
SIZE_PX = 32
PATCH_PX = 6
STRIDE_PX = 2
N_FILTERS = 192
THRESHOLD = 1.0  # of a filter's response; 0.25 and 0.5 were a little worse on digits


class PatchNetwork(nn.Module):
    """Pictures (B, 3, 32, 32) in 0..1 to embeddings (B, D). No part is learned by gradient."""

    filters_PK: Tensor
    offsets_K: Tensor
    centre_F: Tensor
    projection_FD: Tensor

    def __init__(self, filters_PK: Tensor, offsets_K: Tensor) -> None:
        super().__init__()
        self.register_buffer("filters_PK", filters_PK)
        self.register_buffer("offsets_K", offsets_K)
        groups = self.groups(torch.zeros(1, 3, SIZE_PX, SIZE_PX))
        length = sum(group_BF.shape[1] for group_BF in groups)
        self.register_buffer("centre_F", torch.zeros(length))
        self.register_buffer("projection_FD", torch.zeros(length, 0))

    def groups(self, pictures_B3HW: Tensor) -> list[Tensor]:
        """Compute patterns by quarter, patterns overall, colours by quarter, colours overall."""
        patches_BLP = even_patches(pictures_B3HW, STRIDE_PX)
        responses_BLK = patches_BLP @ self.filters_PK - self.offsets_K
        both_BLK = torch.cat(
            [F.relu(responses_BLK - THRESHOLD), F.relu(-responses_BLK - THRESHOLD)], dim=2
        )
        side = (SIZE_PX - PATCH_PX) // STRIDE_PX + 1
        patterns = both_BLK.transpose(1, 2).reshape(pictures_B3HW.shape[0], -1, side, side)
        return [
            F.adaptive_avg_pool2d(patterns, 2).flatten(1),
            patterns.mean(dim=(2, 3)),
            _colours(pictures_B3HW, 2),
            _colours(pictures_B3HW, 1),
        ]

    def forward(self, pictures_B3HW: Tensor) -> Tensor:
        """Embed."""
        features_BF = torch.cat(self.groups(pictures_B3HW), dim=1)
        return (features_BF - self.centre_F) @ self.projection_FD


def empty_patch_network(dim: int) -> PatchNetwork:
    """Build a network of `dim` outputs whose weights are still to be loaded."""
    network = PatchNetwork(torch.zeros(3 * PATCH_PX**2, N_FILTERS), torch.zeros(N_FILTERS))
    network.projection_FD = torch.zeros(len(network.centre_F), dim)
    return network


def even_patches(pictures_B3HW: Tensor, stride_px: int) -> Tensor:
    """Cut patches (B, L, P), each brought to mean 0 and, but for faint ones, to variance 1."""
    patches_BLP = F.unfold(pictures_B3HW, PATCH_PX, stride=stride_px).transpose(1, 2)
    centred_BLP = patches_BLP - patches_BLP.mean(dim=2, keepdim=True)
    variance_BL1 = centred_BLP.square().mean(dim=2, keepdim=True)
    return centred_BLP / torch.sqrt(variance_BL1 + 10 / 255**2)


def _colours(pictures_B3HW: Tensor, cells: int) -> Tensor:
    """Mean and spread of each channel in cells x cells parts."""
    mean = F.adaptive_avg_pool2d(pictures_B3HW, cells)
    variance = F.adaptive_avg_pool2d(pictures_B3HW.square(), cells) - mean.square()
    return torch.cat([mean, variance.clamp(min=0).sqrt()], dim=1).flatten(1)
