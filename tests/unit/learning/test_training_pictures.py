"""The training set on disk: what the network would be given, resumable, nothing silently wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ml_backend.errors import CorruptFile, ImageUnreadable, LabelStudioUnreachable
from ml_backend.learning.augmentation import centred
from ml_backend.learning.images import decode
from ml_backend.learning.pictures import Item, Pictures
from tests.unit.learning.small_training import coloured, item, tiny_backbone

BACKBONE = tiny_backbone()


def prepare(folder: Path, items: list[Item]) -> Pictures:
    return Pictures.prepare(folder, BACKBONE, items, 10_000, 2)


def test_the_centre_of_a_stored_picture_is_what_the_backbone_embeds(tmp_path: Path) -> None:
    data = [coloured(0, 0, (50, 31)), coloured(1, 1, (22, 64)), coloured(2, 2, (16, 16))]
    pictures = prepare(tmp_path / "p", [item(one) for one in data])
    stored = centred(torch.from_numpy(pictures.rows(np.arange(3))), BACKBONE.preprocessing)
    direct = torch.stack([BACKBONE.preprocess(decode(one, 10_000)) for one in data])
    assert pictures.rows(np.arange(1)).shape == (1, 20, 20, 3)
    levels = (stored - BACKBONE.preprocessing.normalise(direct)).abs() * 0.25 * 255
    assert levels.max() < 3  # of 255: both round, at other places


def test_rows_come_in_the_order_asked_for(tmp_path: Path) -> None:
    pictures = prepare(tmp_path / "p", [item(coloured(n, n)) for n in range(3)])
    brightest_channel = pictures.rows(np.array([2, 0])).mean(axis=(1, 2)).argmax(axis=1)
    assert brightest_channel.tolist() == [2, 0]


def test_what_cannot_be_read_is_left_out_with_its_reason(tmp_path: Path) -> None:
    def gone() -> bytes:
        raise ImageUnreadable("There is no such file.")

    first, last = item(coloured(0, 0)), item(coloured(1, 1))
    other = (first[0][::-1], first[1])
    pictures = prepare(tmp_path / "p", [first, ("f00", gone), other, item(b"<html>"), last])
    assert pictures.hashes == (first[0], last[0])
    assert pictures.rows(np.array([1])).mean(axis=(0, 1, 2)).argmax() == 1
    assert pictures.left_out["f00"] == "There is no such file."
    assert "not the one that was labeled" in pictures.left_out[other[0]]
    assert "a web page" in pictures.left_out[item(b"<html>")[0]]


def test_a_preparation_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    fetched: list[int] = []

    def noted(number: int) -> Item:
        name, fetch = item(coloured(number, number % 3))
        return name, lambda: (fetched.append(number), fetch())[1]

    def down() -> bytes:
        raise LabelStudioUnreachable("down")

    items = [noted(number) for number in range(6)]
    broken = [*items[:4], (items[4][0], down), items[5]]
    with pytest.raises(LabelStudioUnreachable):
        prepare(tmp_path / "p", broken)
    with pytest.raises(CorruptFile, match="4 of 6"):
        Pictures.open(tmp_path / "p")
    fetched.clear()
    assert len(prepare(tmp_path / "p", items)) == 6
    assert sorted(fetched) == [4, 5]


def test_a_line_that_a_kill_cut_off_is_done_again(tmp_path: Path) -> None:
    items = [item(coloured(number, number % 3)) for number in range(3)]
    whole = prepare(tmp_path / "p", items).rows(np.arange(3)).copy()
    journal = tmp_path / "p" / "journal.jsonl"
    journal.write_text(journal.read_text()[:-4])
    assert np.array_equal(prepare(tmp_path / "p", items).rows(np.arange(3)), whole)


def test_a_folder_of_other_pictures_or_another_size_is_begun_anew(tmp_path: Path) -> None:
    items = [item(coloured(number, number % 3)) for number in range(4)]
    prepare(tmp_path / "p", items[:3])
    assert prepare(tmp_path / "p", items[1:]).hashes == tuple(name for name, _ in items[1:])
    (tmp_path / "p" / "pictures.u8").write_bytes(b"short")
    with pytest.raises(CorruptFile, match="5 bytes"):
        Pictures.open(tmp_path / "p")
    assert len(prepare(tmp_path / "p", items[1:])) == 3


def test_nothing_to_prepare_is_no_error(tmp_path: Path) -> None:
    assert len(prepare(tmp_path / "p", [])) == 0


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[int] = []
    items = [item(coloured(number, 0)) for number in range(3)]
    Pictures.prepare(tmp_path / "p", BACKBONE, items, 10_000, 1, seen.append)
    assert seen[-1] == 3
