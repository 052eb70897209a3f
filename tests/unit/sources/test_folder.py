"""A folder is read as it lies on the disk: classes, splits, loops, and what nobody may read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources import open_source

from .pictures import by_key, found, png, write_images


def open_folder(path: Path, **options: Any) -> Any:
    return open_source({"kind": "folder", "path": path, **options})


def test_a_flat_folder_has_no_labels_and_comes_in_order_of_names(tmp_path: Path) -> None:
    source = open_folder(write_images(tmp_path, "b.png", "a.JPG", ".hidden.png", "notes.txt"))

    assert found(source) == [("a.JPG", None), ("b.png", None)]
    assert source.count() == 2
    assert "without labels" in source.describe()


def test_two_subfolders_with_images_are_classes_whatever_is_below_them(tmp_path: Path) -> None:
    source = open_folder(write_images(tmp_path, "cat/1.png", "cat/old/2.png", "dog/1.png"))
    (tmp_path / "empty").mkdir()

    assert found(source) == [("cat/1.png", "cat"), ("cat/old/2.png", "cat"), ("dog/1.png", "dog")]
    assert "'cat', 'dog'" in source.describe()


def test_images_beside_class_folders_have_no_label_and_that_is_said(tmp_path: Path) -> None:
    source = open_folder(write_images(tmp_path, "loose.png", "cat/1.png", "dog/1.png"))

    assert by_key(source)["loose.png"].label is None
    assert by_key(source)["cat/1.png"].label == "cat"
    assert "beside those folders have no label" in source.describe()


def test_one_subfolder_is_no_class_unless_it_is_said_to_be(tmp_path: Path) -> None:
    write_images(tmp_path, "DCIM/1.png", "DCIM/2.png")

    assert by_key(open_folder(tmp_path))["DCIM/1.png"].label is None
    assert "labels: folders" in open_folder(tmp_path).describe()
    assert by_key(open_folder(tmp_path, labels="folders"))["DCIM/1.png"].label == "DCIM"


def test_folders_called_train_and_test_are_splits_with_the_classes_inside(tmp_path: Path) -> None:
    source = open_folder(write_images(tmp_path, "train/cat/1.png", "test/dog/2.png"))

    items = by_key(source)
    assert (items["train/cat/1.png"].label, items["train/cat/1.png"].split) == ("cat", "train")
    assert (items["test/dog/2.png"].label, items["test/dog/2.png"].split) == ("dog", "test")


def test_labels_can_be_left_out(tmp_path: Path) -> None:
    source = open_folder(write_images(tmp_path, "cat/1.png", "dog/1.png"), labels="none")

    assert {label for _, label in found(source)} == {None}


def test_a_link_to_a_folder_around_it_ends_and_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)

    source = open_folder(tmp_path)

    assert [key for key, _ in found(source)] == ["a/1.png", "b/2.png"]
    assert source.problems.listed == [("a/loop", "a link that leads back to a folder around it")]


def test_a_link_that_leads_out_is_followed_only_where_that_is_allowed(tmp_path: Path) -> None:
    outside = write_images(tmp_path / "outside", "secret.png")
    root = write_images(tmp_path / "root", "1.png")
    (root / "folder").symlink_to(outside)
    (root / "file.png").symlink_to(outside / "secret.png")

    source = open_folder(root)
    allowed = open_folder(root, follow_outside=True)

    assert [key for key, _ in found(source)] == ["1.png"]
    assert {where for where, _ in source.problems.listed} == {"folder", "file.png"}
    assert [key for key, _ in found(allowed)] == ["1.png", "file.png", "folder/secret.png"]


def test_a_link_to_itself_and_one_to_nowhere_do_no_harm(tmp_path: Path) -> None:
    write_images(tmp_path, "1.png")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.png").symlink_to("nowhere.png")

    items = by_key(open_folder(tmp_path))

    assert "1.png" in items
    with pytest.raises(ImageUnreadable, match="no such file"):
        items["gone.png"].read_bytes()


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, "1.png", "locked/2.png")
    scandir = os.scandir

    def refuse(folder: Any) -> Any:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)  # tests may run as root, whom nothing stops
    source = open_folder(tmp_path)

    assert [key for key, _ in found(source)] == ["1.png"]
    assert source.problems.listed == [("locked", "cannot be read: Permission denied")]


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX alone")
def test_a_name_that_is_no_text_is_a_problem_and_not_a_crash(tmp_path: Path) -> None:
    write_images(tmp_path, "1.png")
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(png())
    (tmp_path / "new\nline.png").write_bytes(png())

    source = open_folder(tmp_path)

    assert [key for key, _ in found(source)] == ["1.png"]
    assert {reason for _, reason in source.problems.listed} == {"a name that is no text"}
    assert all(where.isascii() for where, _ in source.problems.listed)


def test_each_pass_gives_the_same_and_counts_problems_anew(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    source = open_folder(tmp_path)

    assert found(source) == found(source)
    assert source.problems.count == 1


def test_bytes_are_those_of_the_file_and_bounded(tmp_path: Path) -> None:
    [item] = open_folder(write_images(tmp_path, "1.png")).items()

    assert item.read_bytes() == png()
    with pytest.raises(ImageUnreadable, match="larger than 10 bytes"):
        item.read_bytes(10)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: root / "missing", "no such folder"),
        (lambda root: write_images(root, "1.png") / "1.png", "kind csv"),
        (lambda root: root, "no image in it"),
    ],
)
def test_a_folder_that_cannot_work_is_refused_with_what_to_do(
    tmp_path: Path, make: Any, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_folder(make(tmp_path))


def test_class_folders_that_were_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="one subfolder a class"):
        open_folder(write_images(tmp_path, "1.png"), labels="folders")
