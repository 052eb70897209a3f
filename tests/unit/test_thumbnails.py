"""Thumbnails are made once, drawn anew, and never more than a folder may hold."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from PIL import Image

from ml_backend.errors import Busy, ImageUnreadable
from ml_backend.learning.embeddings import content_hash
from ml_backend.thumbnails import AT_ONCE, SIDE_PX, Thumbnails


def png(width: int, height: int, colour: str = "red", **extra: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG", **extra)
    return buffer.getvalue()


def never() -> bytes:
    raise AssertionError("the image was asked for again")


@pytest.mark.parametrize(("size", "small"), [((640, 320), (160, 80)), ((8, 8), (8, 8))])
def test_a_thumbnail_is_a_small_jpeg(
    tmp_path: Path, size: tuple[int, int], small: tuple[int, int]
) -> None:
    made = Image.open(io.BytesIO(Thumbnails(tmp_path, 10**6).of(None, lambda: png(*size))))
    assert (made.format, made.size) == ("JPEG", small)
    assert max(made.size) <= SIDE_PX


def test_a_thumbnail_is_made_once_for_each_content(tmp_path: Path) -> None:
    data = png(300, 300)
    first = Thumbnails(tmp_path, 10**6).of(None, lambda: data)
    assert Thumbnails(tmp_path, 10**6).of(content_hash(data), never) == first
    assert len(list(tmp_path.glob("*/*"))) == 1


def test_nothing_that_hid_in_the_file_is_handed_on(tmp_path: Path) -> None:
    hidden = b"<script>alert(1)</script>"
    exif = Image.Exif()
    exif[0x010E] = hidden.decode()
    data = png(32, 32, exif=exif) + hidden
    assert hidden in data
    assert hidden not in Thumbnails(tmp_path, 10**6).of(None, lambda: data)


@pytest.mark.parametrize(
    "data", [b"", b"<svg onload='alert(1)'/>", b"\xff\xd8 cut off", png(99, 99)]
)
def test_what_cannot_be_decoded_safely_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        Thumbnails(tmp_path, max_pixels=9000).of(None, lambda: data)
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 15])
def test_a_name_that_is_no_hash_leads_to_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises((ValueError, AssertionError)):
        Thumbnails(tmp_path, 10**6).of(name, never)


def test_what_was_not_looked_at_for_longest_makes_room(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path, 10**6, max_bytes=3000)
    images = [png(160, 160, colour) for colour in ("red", "green", "blue", "black", "white")]
    for age, data in enumerate(reversed(images)):
        thumbnails.of(None, lambda data=data: data)
        name = content_hash(data)
        os.utime(tmp_path / name[:2] / f"{name}.jpg", (10**9 + age, 10**9 + age))
    thumbnails.of(content_hash(images[-1]), never)  # the oldest, looked at now
    assert thumbnails.prune() > 0
    assert sum(file.stat().st_size for file in tmp_path.glob("*/*.jpg")) <= 3000
    assert thumbnails.of(content_hash(images[-1]), never)
    assert thumbnails.prune() == 0


def test_too_many_at_once_are_turned_away_and_kept_ones_are_not(tmp_path: Path) -> None:
    thumbnails, kept = Thumbnails(tmp_path, 10**6), png(20, 20, "blue")
    thumbnails.of(None, lambda: kept)
    begun, go_on = threading.Barrier(AT_ONCE + 1), threading.Event()

    def slow() -> bytes:
        begun.wait(10)
        go_on.wait(10)
        return kept

    waiting = [threading.Thread(target=thumbnails.of, args=(None, slow)) for _ in range(AT_ONCE)]
    for thread in waiting:
        thread.start()
    begun.wait(10)
    with pytest.raises(Busy):
        thumbnails.of(None, never)
    assert thumbnails.of(content_hash(kept), never)
    go_on.set()
    for thread in waiting:
        thread.join()
    assert thumbnails.of(None, lambda: kept)
