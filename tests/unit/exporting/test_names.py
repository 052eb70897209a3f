"""Names of files and folders are safe on every system, whatever a stranger called a class."""

from __future__ import annotations

import ntpath
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.exporting.names import (
    MOST_BYTES,
    class_folders,
    file_name,
    safe_name,
    source_name,
    task_of,
)

HOSTILE = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["..", ".", "/", "\\", "CON", "nul.txt", "a/../../b", "-rf", "~", "\x00", " "]),
    st.text(alphabet="./\\-: \x00\u202e", max_size=10),
)


def reserved_by_windows(name: str) -> bool:
    if hasattr(ntpath, "isreserved"):  # Python 3.13
        return bool(ntpath.isreserved(name))
    return PureWindowsPath(name).is_reserved()


@given(HOSTILE)
def test_a_safe_name_is_one_plain_name_on_every_system(text: str) -> None:
    name = safe_name(text)
    assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
    assert not reserved_by_windows(name)
    assert 0 < len(name.encode()) <= MOST_BYTES + 1
    assert name[0] not in ".-~ "
    assert name[-1] not in ". "
    assert all(unicodedata.category(sign)[0] != "C" for sign in name)


@given(HOSTILE)
def test_a_safe_name_stays_as_it_is(text: str) -> None:
    assert safe_name(safe_name(text)) == safe_name(text)


@given(st.lists(HOSTILE, max_size=20))
def test_no_two_classes_share_a_folder_even_where_case_means_nothing(classes: list[str]) -> None:
    folders = class_folders(classes)
    assert folders.keys() == set(classes)
    likenesses = {unicodedata.normalize("NFKD", name).casefold() for name in folders.values()}
    assert len(likenesses) == len(folders)
    assert not likenesses & {"labels.csv", "below_threshold.csv"}


@given(st.integers(1, 2**63 - 1), st.text(max_size=200), st.sampled_from(["", ".png", ".jpg"]))
def test_an_image_keeps_its_task_in_its_name(task_id: int, uri: str, ending: str) -> None:
    name = file_name(task_id, uri, ending)
    assert task_of(name) == task_id
    assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
    assert len(name.encode()) <= 255
    assert not ending or Path(name).suffix


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", "cat"),
        ("Größe 5", "Größe 5"),
        ("आम", "आम"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a/b\\c:d", "a_b_c_d"),
        ("con", "_con"),
        ("LPT1.txt", "_LPT1.txt"),
        ("...", "unnamed"),
        ("", "unnamed"),
        ("///", "unnamed"),
        ("-rf", "_-rf"),
        ("-1", "_-1"),
        ("--", "unnamed"),
        ("e\u0301", "é"),
        ("a\u202egnp.exe", "a_gnp.exe"),
    ],
)
def test_what_names_become(text: str, expected: str) -> None:
    assert safe_name(text) == expected


def test_classes_that_would_share_a_folder_are_numbered() -> None:
    folders = class_folders(["cat", "Cat", "cat-2", "c/t", "c:t", "labels.csv"])
    assert list(folders.values()) == ["cat", "Cat-2", "cat-2-2", "c_t", "c_t-2", "labels.csv-2"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/data/upload/1/1a2b-cat.png", "1a2b-cat.png"),
        ("/data/local-files/?d=pets/a%20cat.jpg", "a cat.jpg"),
        ("/data/local-files/?x=1&d=pets\\dog.jpg", "dog.jpg"),
        ("s3://bucket/deep/key.webp", "key.webp"),
        ("https://example.org/i.png?token=s3cret#top", "i.png"),
        ("https://[broken/i.png", "i.png"),
        ("https://example.org/..%2f..%2fx.png", "x.png"),
        ("", ""),
    ],
)
def test_what_an_image_was_called(uri: str, expected: str) -> None:
    assert source_name(uri) == expected


@pytest.mark.parametrize(
    ("uri", "ending", "expected"),
    [
        ("/data/upload/1/cat.JPG", ".png", "7-cat.JPG"),
        ("s3://bucket/cat", ".png", "7-cat.png"),
        ("s3://bucket/cat.v2", ".png", "7-cat.v2.png"),
        ("s3://bucket/cat.exe", "", "7-cat.exe"),
        ("", ".gif", "7-image.gif"),
    ],
)
def test_an_image_ends_like_one(uri: str, ending: str, expected: str) -> None:
    assert file_name(7, uri, ending) == expected
