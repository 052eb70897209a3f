"""Files as they come: decoded as annotators see them, or refused with a reason."""

from __future__ import annotations

import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ml_backend.errors import ImageUnreadable
from ml_backend.learning.images import decode
from tests.unit.learning.pictures import file_bytes, left_black_right_white, noise

LIMIT = 1_000_000


def middle(image: Image.Image) -> tuple[int, ...]:
    """Read the pixel in the middle."""
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    return pixel


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG", "PPM"])
def test_each_format_gives_its_colour_in_rgb(file_format: str) -> None:
    image = decode(file_bytes(Image.new("RGB", (9, 7), (200, 100, 50)), file_format), LIMIT)
    assert (image.mode, image.size) == ("RGB", (9, 7))
    assert np.allclose(middle(image), (200, 100, 50), atol=3)


@pytest.mark.parametrize(
    ("orientation", "white_corners"),
    [
        (1, {"top right", "bottom right"}),
        (2, {"top left", "bottom left"}),
        (3, {"top left", "bottom left"}),
        (4, {"top right", "bottom right"}),
        (5, {"bottom left", "bottom right"}),
        (6, {"bottom left", "bottom right"}),
        (7, {"top left", "top right"}),
        (8, {"top left", "top right"}),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once(
    file_format: str, orientation: int, white_corners: set[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = decode(file_bytes(left_black_right_white(), file_format, exif=exif), LIMIT)
    assert turned.size == ((32, 16) if orientation < 5 else (16, 32))
    right, bottom = turned.width - 1, turned.height - 1
    corners = {
        "top left": (0, 0),
        "top right": (right, 0),
        "bottom left": (0, bottom),
        "bottom right": (right, bottom),
    }
    white = {name for name, place in corners.items() if turned.getpixel(place)[0] > 128}  # type: ignore[index]
    assert white == white_corners


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_cost_the_picture() -> None:
    data = file_bytes(Image.new("RGB", (8, 8), "red"), "JPEG", exif=b"Exif\x00\x00MM\x00*garbage")
    assert np.allclose(middle(decode(data, LIMIT)), (254, 0, 0), atol=3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_seen_on_white(mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    assert middle(decode(file_bytes(clear), LIMIT)) == (255, 255, 255)


def test_half_transparent_black_is_seen_as_gray() -> None:
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert middle(decode(file_bytes(half), LIMIT)) == (127, 127, 127)


def test_a_transparent_palette_entry_is_seen_on_white() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert middle(decode(file_bytes(palette, "PNG", transparency=1), LIMIT)) == (255, 255, 255)
    assert middle(decode(file_bytes(palette, "GIF", transparency=0), LIMIT)) == (0, 255, 0)


def test_an_inverted_cmyk_jpeg_gives_its_colours() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan: red
    assert np.allclose(middle(decode(file_bytes(ink, "JPEG"), LIMIT)), (255, 0, 0), atol=4)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize(("stored", "seen"), [(0, 0), (32896, 128), (65535, 255)])
def test_16_bit_gray_is_scaled_by_its_full_range(file_format: str, stored: int, seen: int) -> None:
    gray = Image.fromarray(np.full((5, 6), stored, np.uint16))
    assert middle(decode(file_bytes(gray, file_format), LIMIT)) == (seen,) * 3


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (np.array([[0, 200]], np.int32), [0, 200]),
        (np.array([[0, 65535]], np.int32), [0, 255]),
        (np.array([[-100, 100]], np.int32), [0, 255]),
        (np.array([[0.0, 0.2]], np.float32), [0, 51]),
        (np.array([[1e6, 1e6]], np.float32), [0, 0]),
    ],
)
def test_wide_gray_without_a_scale_is_read_by_its_range(
    values: np.ndarray, seen: list[int]
) -> None:
    decoded = np.asarray(decode(file_bytes(Image.fromarray(values), "TIFF"), LIMIT))
    assert decoded[0, :, 0].tolist() == seen


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(file_format: str) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    data = file_bytes(frames[0], file_format, save_all=True, append_images=frames[1:])
    assert np.allclose(middle(decode(data, LIMIT)), (255, 0, 0), atol=4)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_a_truncated_file_is_refused(file_format: str) -> None:
    data = file_bytes(noise(0, (64, 64)), file_format)
    with pytest.raises(ImageUnreadable, match=r"damaged|begins with"):
        decode(data[: len(data) // 2], LIMIT)


def png_header_only(width: int, height: int) -> bytes:
    """Make a PNG that promises many pixels and holds none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def test_more_pixels_than_allowed_are_refused_from_the_header() -> None:
    with pytest.raises(ImageUnreadable, match=r"1001 x 1000 = 1,001,000 pixels; at most 1,000,000"):
        decode(png_header_only(1001, 1000), LIMIT)


def test_a_decompression_bomb_is_refused_whatever_is_allowed() -> None:
    with pytest.raises(ImageUnreadable, match="too large to decode safely"):
        decode(png_header_only(60_000, 60_000), 10**12)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"></svg>', "SVG"),
        (b"\xef\xbb\xbf  <!DOCTYPE html><html>", "web page"),
        (b'{"detail": "not found"}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "begins with b'%!PS-Adobe-3'"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageUnreadable, match=reason):
        decode(data, LIMIT)


SMALL_FILES = [file_bytes(noise(1), name) for name in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")]


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from(SMALL_FILES), st.integers(0, 400), st.binary(min_size=1, max_size=40))
def test_any_bytes_give_a_picture_or_a_reason(data: bytes, place: int, patch: bytes) -> None:
    damaged = data[:place] + patch + data[place + len(patch) :]
    with contextlib.suppress(ImageUnreadable):
        assert decode(damaged, LIMIT).mode == "RGB"


def test_a_big_jpeg_is_decoded_smaller_but_never_below_what_is_asked() -> None:
    data = file_bytes(Image.new("RGB", (1600, 800), "green"), "JPEG")
    assert decode(data, 10**7, at_least_px=100).size == (200, 100)
    assert decode(data, 10**7, at_least_px=900).size == (1600, 800)
    assert decode(data, 10**7).size == (1600, 800)
