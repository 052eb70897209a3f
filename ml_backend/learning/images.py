"""Bytes in, an RGB picture out, or a reason for people why not.

Knows Pillow and what files in the wild look like. Does not know where the bytes came from, and
changes none of Pillow's global settings.

Pictures are decoded as a browser shows them, because that is what annotators see: turned by their
EXIF orientation, transparency on white, CMYK JPEGs read the inverted (Adobe) way, the first frame
of an animation, 16-bit gray on its full scale. Colour profiles are ignored.
"""

from __future__ import annotations

import io
import struct
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ml_backend.errors import ImageUnreadable

# What cameras, phones, scanners and the web produce. Pillow knows forty more, each with a parser
# that hostile bytes could reach (EPS starts Ghostscript).
# JPEG includes MPO, the several-pictures-in-one of phones.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM")

_ORIENTATION_TAG = 0x0112
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# (what the file begins with, what to tell people), for what is often found under an image's name.
_IMPOSTORS = (
    (b"<svg", "an SVG drawing, which is not made of pixels; export it as PNG"),
    (b"<!doctype html", "a web page, perhaps a login or an error page, not an image"),
    (b"<html", "a web page, perhaps a login or an error page, not an image"),
    (b"<error", "an error message of a storage service, not an image"),
    (b"%pdf", "a PDF document; export its pages as PNG"),
    (b"version https://git-lfs", "a Git LFS pointer; the image itself was never downloaded"),
    (b"{", "JSON text, perhaps an error message, not an image"),
)


def decode(data: bytes, max_pixels: int, *, at_least_px: int | None = None) -> Image.Image:
    """Decode an image file to RGB.

    `at_least_px` lets big JPEGs be decoded at a half, a quarter or an eighth of their size, with
    both sides still at least that long; it changes what a resize then gives by about 1 of 255.

    Raises ImageUnreadable with a reason to show to people. More than `max_pixels` are refused from
    the header, before anything is decoded; above 179 million Pillow refuses by itself.
    """
    image = _opened(data, max_pixels)
    try:
        if at_least_px is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, (at_least_px, at_least_px))
        image.load()
        return _upright(_rgb(image), image)
    except Exception as error:  # hostile bytes make decoders raise nearly anything
        raise ImageUnreadable(f"The {image.format} file is damaged: {_words(error)}") from error


def format_of(data: bytes, max_pixels: int) -> str:
    """Return one of FORMATS (or MPO) by the header alone. Raises ImageUnreadable like `decode`."""
    return str(_opened(data, max_pixels).format)


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise ImageUnreadable("The file is empty (0 bytes).")
    image = _open(data)
    _check_size(image, max_pixels)
    return image


def _open(data: bytes) -> Image.Image:
    """Read the header only."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageUnreadable(f"The image is too large to decode safely: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageUnreadable(_what_it_is_instead(data)) from error
    except Exception as error:  # hostile bytes make parsers raise nearly anything
        raise ImageUnreadable(f"The image file is damaged: {_words(error)}") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise ImageUnreadable(
            f"The image has {image.width} x {image.height} = {pixels:,} pixels; "
            f"at most {max_pixels:,} are allowed."
        )
    if pixels == 0:
        raise ImageUnreadable(f"The image has no pixels ({image.width} x {image.height}).")


def _what_it_is_instead(data: bytes) -> str:
    beginning = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if beginning.startswith((b"<?xml", b"<!--")) and b"<svg" in beginning:
        beginning = b"<svg"
    for magic, what in _IMPOSTORS:
        if beginning.startswith(magic):
            return f"The file is {what}."
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "The file is a HEIC photo, which browsers cannot show either; convert it to JPEG."
    return f"Not a readable image (one of {', '.join(FORMATS)}): it begins with {data[:12]!r}."


def _rgb(image: Image.Image) -> Image.Image:
    """Convert any of Pillow's modes; transparency is laid on white."""
    if image.mode.startswith(("I", "F")):
        bytes_HW = _to_bytes(np.asarray(image), sixteen_bit=image.mode.startswith("I;16"))
        return Image.fromarray(bytes_HW).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def _to_bytes(gray_HW: NDArray[Any], *, sixteen_bit: bool) -> NDArray[np.uint8]:
    """Scale wide gray to 0..255.

    16 bits by their full scale, as a browser does. 32-bit integers and real numbers carry no scale
    of their own: what fits 0..255 or 0..65535 is taken for that, anything else by its range.
    """
    values_HW = gray_HW.astype(np.float64)
    if not np.isfinite(values_HW).all():
        raise ValueError("it holds values that are not finite numbers")
    low, high = float(values_HW.min()), float(values_HW.max())
    if sixteen_bit or (low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1 and gray_HW.dtype.kind == "f":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    span = (high - low) or 1.0  # an even picture
    return np.rint((values_HW - low) * (255.0 / span)).astype(np.uint8)


def _upright(picture: Image.Image, source: Image.Image) -> Image.Image:
    """Turn by the EXIF orientation. Pillow itself turns TIFF while loading, and drops the tag."""
    try:
        turn = _TURN.get(cast(int, source.getexif().get(_ORIENTATION_TAG, 1)))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error, UserWarning):
        turn = None  # a damaged EXIF block says nothing about the picture
    return picture if turn is None else picture.transpose(turn)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
