"""Pictures a little different each epoch: decided by seed, epoch and row, and never too far."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ml_backend.learning.augmentation import (
    KINDS,
    _cut_by_bytes,
    _cut_by_grid,
    _views,
    centred,
    draw,
    shown,
)
from ml_backend.learning.backbones import Preprocessing
from ml_backend.learning.recipe import Augment

PLAIN = Preprocessing(20, 16, (0.0,) * 3, (1.0,) * 3)


def pictures(n: int, side: int = 20) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(pixels)


def test_draws_are_even_and_follow_seed_epoch_and_row() -> None:
    draws = draw(0, 1, np.arange(4000))
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 0.03
    assert np.abs(np.corrcoef(draws.T) - np.eye(8)).max() < 0.06
    assert np.array_equal(draw(0, 1, np.array([7])), draws[7:8])
    for other in (draw(1, 1, np.arange(4000)), draw(0, 2, np.arange(4000))):
        assert abs(np.corrcoef(draws[:, 0], other[:, 0])[0, 1]) < 0.06


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_shown_alike_in_any_batch(kind: Augment) -> None:
    pixels, draws = pictures(5), draw(0, 3, np.arange(5))
    together = shown(pixels, draws, kind, PLAIN)
    alone = shown(pixels[2:3], draws[2:3], kind, PLAIN)
    assert together.shape == (5, 3, 16, 16)
    assert torch.allclose(together[2], alone[0], atol=1e-6)


def test_no_augmentation_is_what_the_backbone_sees() -> None:
    pixels = pictures(2)
    assert torch.equal(
        shown(pixels, draw(0, 1, np.arange(2)), "none", PLAIN), centred(pixels, PLAIN)
    )
    levels = centred(pixels, PLAIN)[1, 2] * 255
    assert torch.allclose(levels, pixels[1, 2:18, 2:18, 2].float(), atol=1e-3)


def test_overhead_pictures_are_turned_and_photos_never_stand_on_their_head() -> None:
    pixels = torch.zeros(400, 20, 20, 3, dtype=torch.uint8)
    pixels[:, :10] = 255  # white above black
    draws = draw(0, 1, np.arange(400))

    def white_side(kind: Augment) -> np.ndarray:
        out = shown(pixels, draws, kind, PLAIN).mean(dim=1)
        top, bottom = out[:, :4].mean(dim=(1, 2)), out[:, -4:].mean(dim=(1, 2))
        return (top - bottom).numpy()

    assert white_side("light").min() > 0.5
    turned = white_side("overhead")
    for share in ((turned > 0.5).mean(), (turned < -0.5).mean()):
        assert 0.15 < share < 0.35


def test_half_the_photos_are_mirrored() -> None:
    pixels = torch.zeros(400, 20, 20, 3, dtype=torch.uint8)
    pixels[:, :, :10] = 255
    out = shown(pixels, draw(0, 1, np.arange(400)), "light", PLAIN).mean(dim=(1, 2))
    assert 0.4 < (out[:, :4].mean(dim=1) > out[:, -4:].mean(dim=1)).float().mean() < 0.6


def test_colours_change_by_bounded_factors_and_gray_stays_gray() -> None:
    pixels = torch.full((200, 20, 20, 3), 100, dtype=torch.uint8)
    out = shown(pixels, draw(0, 1, np.arange(200)), "photo", PLAIN)[:, :, 8, 8] * 255
    assert torch.allclose(out[:, 0], out[:, 1], atol=0.01)
    assert 70 - 0.01 <= out.min() < 80
    assert 120 < out.max() <= 130 + 0.01


def test_contrast_turns_around_the_pictures_own_gray() -> None:
    pixels = pictures(100)
    draws = draw(0, 1, np.arange(100))
    draws[:, 5] = 0.5  # brightness as it was
    plain, changed = (shown(pixels, draws, kind, PLAIN) for kind in ("light", "photo"))
    assert not torch.allclose(plain, changed)
    gray = torch.tensor([0.299, 0.587, 0.114])
    same_crop = draws.copy()
    same_crop[:, 6:8] = 0.5
    uncoloured = shown(pixels, same_crop, "photo", PLAIN)
    means = [torch.einsum("bchw,c->b", out, gray) / 256 for out in (uncoloured, changed)]
    assert torch.allclose(*means, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_lies_inside_its_square(kind: Augment) -> None:
    draws = draw(0, 1, np.arange(2000))
    draws[0], draws[1] = 0, 1 - 2**-24  # as far as draws go
    left, top, width, height, mirrored, turns = _views(draws, KINDS[kind], 20).T
    assert min(left.min(), top.min()) == 0
    assert (left + width).max() == (top + height).max() == 20
    assert (width * height).min() >= (KINDS[kind].min_area - 0.06) * 20**2
    assert set(mirrored) == ({0, 1} if KINDS[kind].flip else {0})
    assert set(turns) == ({0, 1, 2, 3} if KINDS[kind].turns else {0})


@pytest.mark.parametrize("kind", ["light", "photo", "overhead"])
def test_a_cpu_cuts_out_what_a_gpu_does(kind: Augment) -> None:
    pixels_B3SS = pictures(100).permute(0, 3, 1, 2)
    views = _views(draw(0, 1, np.arange(100)), KINDS[kind], 20)
    by_bytes, by_grid = (cut(pixels_B3SS, views, 16) for cut in (_cut_by_bytes, _cut_by_grid))
    # By a level of rounding; at its edge the grid looks at neighbours outside the view.
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert (by_bytes.float() - by_grid)[inside].abs().max() < 1.5


def test_a_picture_is_mirrored_and_then_turned_against_the_clock() -> None:
    pixels_B3SS = pictures(1, side=4).permute(0, 3, 1, 2)
    seen = _cut_by_bytes(pixels_B3SS, np.array([[0, 0, 4, 4, 1, 1]]), 4)
    assert torch.equal(seen, pixels_B3SS.flip(3).rot90(1, (2, 3)))
