"""Buckets, by the file system that fsspec keeps in memory. S3 is in test_s3.py."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources import open_source

from .pictures import by_key, found, png, write_images


@pytest.fixture
def bucket() -> Iterator[str]:
    """The address of an empty folder in memory."""
    root = f"memory://{uuid.uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True)


def put(root: str, *names: str) -> None:
    for number, name in enumerate(names):
        with fsspec.open(f"{root}/{name}", "wb") as file:
            file.write(png(number))


def open_remote(url: str, **options: Any) -> Any:
    return open_source({"kind": "fsspec", "url": url, **options})


def test_class_folders_of_a_bucket_are_labels(bucket: str) -> None:
    put(bucket, "cat/1.png", "cat/deep/2.png", "dog/3.jpg", "readme.txt", ".hidden/4.png")

    source = open_remote(f"{bucket}/")

    assert found(source) == [("cat/1.png", "cat"), ("cat/deep/2.png", "cat"), ("dog/3.jpg", "dog")]
    item = by_key(source)["dog/3.jpg"]
    assert item.uri == f"{bucket}/dog/3.jpg"
    assert item.path is None
    assert item.read_bytes() == png(2)
    assert "'cat', 'dog'" in source.describe()


def test_an_object_that_is_gone_or_too_large_is_unreadable(bucket: str) -> None:
    put(bucket, "1.png", "2.png")
    items = by_key(open_remote(bucket))
    fsspec.filesystem("memory").rm(f"{bucket}/1.png")

    with pytest.raises(ImageUnreadable, match=r"1\.png"):
        items["1.png"].read_bytes()
    with pytest.raises(ImageUnreadable, match="larger than 10 bytes"):
        items["2.png"].read_bytes(10)


def test_a_folder_of_this_machine_can_be_named_by_its_address(tmp_path: Path) -> None:
    write_images(tmp_path, "a/1.png", "b/2.png")

    assert found(open_remote(f"file://{tmp_path}")) == [("a/1.png", "a"), ("b/2.png", "b")]


def test_a_table_may_name_objects(bucket: str, tmp_path: Path) -> None:
    put(bucket, "1.png")
    (tmp_path / "t.csv").write_text(f"uri,label\n{bucket}/1.png,cat\n")

    [item] = open_source({"kind": "csv", "path": tmp_path / "t.csv"}).items()

    assert (item.uri, item.label) == (f"{bucket}/1.png", "cat")
    assert item.read_bytes() == png(0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://nothing-here", "nothing at that address"),
        ("ftp://host/images", "starts with one of s3://"),
        ("images", "starts with one of s3://"),
        ("zip://*::file:///etc/x.zip", "starts with one of s3://"),
        ("simplecache::s3://bucket/x", "starts with one of s3://"),
    ],
)
def test_an_address_that_cannot_work_says_what_is_expected(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_remote(url)


def test_a_bucket_without_an_image_is_refused(bucket: str) -> None:
    put(bucket, "readme.txt")

    with pytest.raises(ConfigurationError, match="no image file below it"):
        open_remote(bucket)
