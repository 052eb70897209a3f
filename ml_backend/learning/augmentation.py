"""How a picture is shown a little differently each epoch.

Works on whole batches, on the device that trains: one resampling and at most one product of
matrices a picture, whatever is switched on. What happens to a picture follows from (seed, epoch,
row) alone: not from the batch it is in, the process that shows it, or what ran before.
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
    views_B6 = _views(draws_BK, ranges, pixels_BSS3.shape[1])
    cut_out = _cut_by_bytes if pixels_BSS3.device.type == "cpu" else _cut_by_grid
    cut = cut_out(pixels_BSS3.permute(0, 3, 1, 2), views_B6, preprocessing.crop_px)
    if ranges.colour:
        draws_B3 = torch.from_numpy(draws_BK[:, 5:8]).to(cut.device)
        cut = _recoloured(cut.float(), draws_B3, ranges.colour)
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
    width = pixels_BCHW.shape[3]
    std = torch.tensor(preprocessing.std, device=pixels_BCHW.device).repeat(width)
    mean = torch.tensor(preprocessing.mean, device=pixels_BCHW.device).repeat(width)
    inputs = pixels_BCHW.to(torch.float32, memory_format=torch.channels_last)
    # Whole rows at once: three colours are too few numbers for a processor's wide instructions.
    # In place: new memory costs as much as the arithmetic.
    rows_BHR = inputs.permute(0, 2, 3, 1).flatten(2)
    torch.addcmul(-mean / std, rows_BHR, 1 / (255 * std), out=rows_BHR)
    return inputs


def _views(draws_BK: NDArray[np.float32], ranges: Ranges, side_px: int) -> NDArray[np.int64]:
    """Say what is shown of each square: left, top, width, height (px), mirrored, quarter turns.

    (B, 6). Mirrored comes before turned, which goes against the clock.
    """
    draws = draws_BK.astype(np.float64)
    area_B1 = ranges.min_area + (1 - ranges.min_area) * draws[:, 0:1]
    stretch_B2 = ranges.aspect ** ((draws[:, 1:2] - 0.5) * [1, -1])
    sides_B2 = np.rint(np.minimum(np.sqrt(area_B1) * stretch_B2, 1) * side_px)
    starts_B2 = np.floor(draws[:, 2:4] * (side_px - sides_B2 + 1))
    mirrored = draws[:, 4:5] * 2
    flips_B1 = (mirrored < 1) * ranges.flip
    turns_B1 = np.floor(mirrored % 1 * 4) * ranges.turns
    return np.hstack([starts_B2, sides_B2, flips_B1, turns_B1]).astype(np.int64)


def _cut_by_bytes(pixels_B3SS: Tensor, views_B6: NDArray[np.int64], crop_px: int) -> Tensor:
    """Resample picture by picture, uint8 (B, 3, P, P): on a CPU thrice as fast as by grid."""
    cuts = []
    for picture, view in zip(pixels_B3SS.unsqueeze(1), views_B6.tolist(), strict=True):
        left, top, width, height, mirrored, turns = view
        cut = picture[:, :, top : top + height, left : left + width]
        cut = F.interpolate(cut, (crop_px, crop_px), mode="bilinear", align_corners=False)
        cut = cut.flip(3) if mirrored else cut
        cuts.append(cut.rot90(turns, (2, 3)) if turns else cut)
    return torch.cat(cuts)


def _cut_by_grid(pixels_B3SS: Tensor, views_B6: NDArray[np.int64], crop_px: int) -> Tensor:
    """Resample all pictures in a few calls, float (B, 3, P, P): a GPU waits for calls, not sums."""
    side_px = pixels_B3SS.shape[3]
    placements_B23 = _placements(views_B6, side_px).to(pixels_B3SS.device)
    return F.grid_sample(
        pixels_B3SS.float(),
        _grid(placements_B23, crop_px),
        padding_mode="border",
        align_corners=False,
    )


def _placements(views_B6: NDArray[np.int64], side_px: int) -> Tensor:
    """Say where in the stored square (-1..1) each view lies: (B, 2, 3), for affine_grid."""
    left, top, width, height, mirrored, turns = torch.from_numpy(views_B6).float().T
    sign, angle = 1 - 2 * mirrored, turns * torch.pi / 2
    cos, sin = angle.cos().round(), angle.sin().round()
    width, height = width / side_px, height / side_px
    centre_x, centre_y = 2 * left / side_px + width - 1, 2 * top / side_px + height - 1
    across = torch.stack([width * cos * sign, -width * sin * sign, centre_x], dim=1)
    down = torch.stack([height * sin, height * cos, centre_y], dim=1)
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
