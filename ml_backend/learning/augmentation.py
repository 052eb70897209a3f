"""How a picture is shown a little differently each epoch.

Works on whole batches, on whatever device trains: one resampling and one product of matrices a
picture, whatever is switched on. What happens to a picture follows from (seed, epoch, row) alone:
not from the batch it is in, the process that shows it, or what ran before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from numpy.typing import NDArray
from torch import Tensor

from ml_backend.learning.preprocessing import Preprocessing
from ml_backend.learning.recipe import Augment

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_DRAWS = 8  # per picture and epoch
_GRAY_3 = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's


@dataclass(frozen=True, slots=True)
class Ranges:
    """How far a kind of augmentation goes.

    min_area: the smallest share of the stored square that is shown; aspect: widest over narrowest;
    colour: largest change of brightness, contrast and saturation; turns: quarter turns.
    """

    min_area: float
    aspect: float
    flip: bool
    turns: bool
    colour: float


# Small label sets: crops that keep most of the picture, for what is cut away is often the label.
KINDS: dict[Augment, Ranges] = {
    "none": Ranges(1.0, 1.0, flip=False, turns=False, colour=0.0),
    "light": Ranges(0.6, 1.15, flip=True, turns=False, colour=0.0),
    "photo": Ranges(0.35, 1.33, flip=True, turns=False, colour=0.3),
    "overhead": Ranges(0.7, 1.0, flip=True, turns=True, colour=0.1),
}


def draw(seed: int, epoch: int, rows_B: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw numbers in [0, 1), (B, 8), that depend on seed, epoch and row only.

    A hash instead of a generator (splitmix64; Steele et al. 2014), for it works on whole batches.
    """
    key = np.array([seed, epoch], np.uint64)
    state = _mix(_mix(key[0] + _GOLDEN) ^ (key[1] + _GOLDEN))
    counters_BK = _mix(state ^ rows_B.astype(np.uint64)[:, None]) + _GOLDEN * np.arange(
        1, _DRAWS + 1, dtype=np.uint64
    )
    return ((_mix(counters_BK) >> np.uint64(40)) / np.float32(2**24)).astype(np.float32)


def shown(
    pixels_BSS3: Tensor, draws_BK: NDArray[np.float32], kind: Augment, preprocessing: Preprocessing
) -> Tensor:
    """Crop, turn, recolour and normalise uint8 pictures to the network's input (B, 3, P, P)."""
    ranges = KINDS[kind]
    if ranges == KINDS["none"]:
        return centred(pixels_BSS3, preprocessing)
    draws = torch.from_numpy(draws_BK).to(pixels_BSS3.device)
    cut = F.grid_sample(
        pixels_BSS3.permute(0, 3, 1, 2).float(),
        _grid(_placements(draws, ranges), preprocessing.crop_px),
        padding_mode="border",  # never beyond a rounding
        align_corners=False,
    )
    if ranges.colour:
        cut = _recoloured(cut, draws[:, 5:8], ranges.colour)
    return normalised(cut, preprocessing)


def centred(pixels_BSS3: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Cut out the centre, as the backbone does, and normalise: (B, 3, P, P)."""
    crop = preprocessing.crop_px
    start = (pixels_BSS3.shape[1] - crop) // 2
    cut = pixels_BSS3[:, start : start + crop, start : start + crop]
    return normalised(cut.permute(0, 3, 1, 2), preprocessing)


def normalised(pixels_BCHW: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Normalise in one pass, and lay out in memory as convolutions like it. Overwrites floats.

    The same as `Preprocessing.normalise` but for the last bits of a float.
    """
    std = torch.tensor(preprocessing.std, device=pixels_BCHW.device).view(-1, 1, 1)
    mean = torch.tensor(preprocessing.mean, device=pixels_BCHW.device).view(-1, 1, 1)
    inputs = pixels_BCHW.float()  # in place from here: new memory costs as much as the arithmetic
    torch.addcmul(-mean / std, inputs, 1 / (255 * std), out=inputs)
    return inputs.contiguous(memory_format=torch.channels_last)


def _placements(draws: Tensor, ranges: Ranges) -> Tensor:
    """Say where in the stored square (-1..1) each crop lies: (B, 2, 3), for affine_grid."""
    area = ranges.min_area + (1 - ranges.min_area) * draws[:, 0]
    stretch = ranges.aspect ** (draws[:, 1] - 0.5)
    width = (area.sqrt() * stretch).clamp(max=1.0)
    height = (area.sqrt() / stretch).clamp(max=1.0)
    centre_x = (2 * draws[:, 2] - 1) * (1 - width)
    centre_y = (2 * draws[:, 3] - 1) * (1 - height)
    mirrored = draws[:, 4] * 2
    sign = torch.where(mirrored < 1, -1.0, 1.0) if ranges.flip else torch.ones_like(width)
    quarter = (mirrored % 1 * 4).floor() if ranges.turns else torch.zeros_like(width)
    cos, sin = torch.cos(quarter * torch.pi / 2), torch.sin(quarter * torch.pi / 2)
    across = torch.stack([width * cos.round() * sign, -width * sin.round(), centre_x], dim=1)
    down = torch.stack([height * sin.round() * sign, height * cos.round(), centre_y], dim=1)
    return torch.stack([across, down], dim=1)


def _grid(placements_B23: Tensor, crop_px: int) -> Tensor:
    """Say where each pixel of a crop comes from: (B, P, P, 2). affine_grid, but thrice as fast."""
    steps_P = (2 * torch.arange(crop_px, device=placements_B23.device) + 1) / crop_px - 1
    along_x, along_y, offset = placements_B23[:, None, None].unbind(dim=4)
    return torch.addcmul(
        along_y * steps_P[None, :, None, None] + offset, along_x, steps_P[None, None, :, None]
    )


def _recoloured(pixels_B3HW: Tensor, draws_B3: Tensor, reach: float) -> Tensor:
    """Change brightness, contrast and saturation by factors of 1 ± reach, in one pass.

    All three are linear in the colours: out = matrix · colours + offset. Nothing is clipped, for
    the network takes any number.
    """
    brightness, contrast, saturation = (1 + reach * (2 * draws_B3 - 1)).T
    gray_3 = torch.tensor(_GRAY_3, device=pixels_B3HW.device)
    identity_33 = torch.eye(3, device=pixels_B3HW.device)
    saturating_B33 = torch.lerp(
        gray_3.expand(3, 3).expand(len(draws_B3), 3, 3), identity_33, saturation[:, None, None]
    )
    matrix_B33 = saturating_B33 * (brightness * contrast)[:, None, None]
    mean_gray_B = torch.einsum("bc,c->b", pixels_B3HW.mean(dim=(2, 3)), gray_3)
    offset_B = (1 - contrast) * brightness * mean_gray_B
    pixels_BNC = pixels_B3HW.permute(0, 2, 3, 1).flatten(1, 2)
    mixed_BNC = torch.baddbmm(
        offset_B[:, None, None].expand(-1, 1, 3), pixels_BNC, matrix_B33.transpose(1, 2)
    )
    height, width = pixels_B3HW.shape[2:]
    return mixed_BNC.view(-1, height, width, 3).permute(0, 3, 1, 2)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the point
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(values ^ (values >> np.uint64(31)))
