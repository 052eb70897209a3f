"""Labeled images on a disk: which are found, what their labels are, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.labeled_files import from_csv, from_folder, read_file

PLENTY = 10_000


def touch(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())


def test_the_first_folder_is_the_label_however_deep_the_file_lies(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.png", "cat/2024/b.JPG", "dog/a.png", "loose.png")
    touch(tmp_path, "cat/notes.txt", ".hidden/a.png", "cat/.thumb.png")
    found = from_folder(tmp_path, PLENTY)
    assert {(each.key, each.label) for each in found} == {
        ("cat/a.png", "cat"),
        ("cat/2024/b.JPG", "cat"),
        ("dog/a.png", "dog"),
        ("loose.png", ""),
    }
    assert [each.read() for each in found] == [each.key.encode() for each in found]


def test_a_folder_without_images_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no image"):
        from_folder(tmp_path, PLENTY)
    with pytest.raises(ConfigurationError, match="no such folder"):
        from_folder(tmp_path / "missing", PLENTY)


def test_csv_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "pictures/a.png")
    file = tmp_path / "labels.csv"
    file.write_text('\ufefffile,kind,x\npictures/a.png,"a, b",1\n,none,2\npictures/b.png,,3\n')
    first, second = from_csv(file, "file", "kind", PLENTY)
    assert (first.key, first.label, first.read()) == ("pictures/a.png", "a, b", b"pictures/a.png")
    assert second.label == ""
    with pytest.raises(ImageUnreadable, match="No such file"):
        second.read()


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("path,class\na.png,cat\n")
    with pytest.raises(ConfigurationError, match="no column 'label'; there is: path, class"):
        from_csv(file, "path", "label", PLENTY)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "there is: nothing"),
        (b"path,label\n\xff\xfe,x\n", "UTF-8"),
        (b"path,label\n", "no row"),
    ],
)
def test_what_is_no_csv_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=told):
        from_csv(file, "path", "label", PLENTY)


def test_a_csv_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        from_csv(tmp_path / "labels.csv", "path", "label", PLENTY)


def test_a_file_that_is_too_large_or_has_an_impossible_name_is_unreadable(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    assert read_file(tmp_path / "a.png", 5) == b"a.png"
    with pytest.raises(ImageUnreadable, match="more than 4 bytes"):
        read_file(tmp_path / "a.png", 4)
    with pytest.raises(ImageUnreadable, match="null"):
        read_file(tmp_path / "a\0.png", 4)
