"""A source that is named wrongly is answered with what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources import Problems, Reach, SourceItem, open_source
from ml_backend.sources.opening import KINDS

from .pictures import write_images


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"kind": "foldr", "path": "x"}, r"'foldr' \(did you mean 'folder'\?\)"),
        ({"path": "x"}, "there are: folder, csv"),
        ({"kind": "folder", "pth": "x"}, r"'pth' \(did you mean 'path'\?\)"),
        ({"kind": "folder"}, "path: Missing required argument"),
        ({"kind": "folder", "path": "x", "labels": "yes"}, "labels: .*'auto'"),
        ({"kind": "csv", "path": "x", "web": 3}, "web: .*callable"),
        ({"kind": "label_studio", "project": 1}, "label_studio"),
    ],
)
def test_a_spec_that_cannot_work_says_why(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_source(spec)


def test_every_kind_has_its_opener() -> None:
    for kind in KINDS:
        with pytest.raises(ConfigurationError, match="has no option 'nonsense'"):
            open_source({"kind": kind, "nonsense": 1})


def test_an_option_that_is_not_given_may_be_none(tmp_path: Path) -> None:
    write_images(tmp_path, "1.png")

    assert open_source({"kind": "folder", "path": tmp_path, "labels": None}).count() == 1


def test_another_project_is_opened_by_whoever_can_reach_it(tmp_path: Path) -> None:
    folder = open_source({"kind": "folder", "path": write_images(tmp_path, "1.png")})
    asked = []

    def project(project: int, url: str | None = None) -> Any:
        asked.append((project, url))
        return folder

    source = open_source({"kind": "label_studio", "project": "7"}, Reach(project=project))

    assert source is folder
    assert asked == [(7, None)]


def test_an_item_that_nobody_can_read_says_so() -> None:
    with pytest.raises(ImageUnreadable, match=r"s3://bucket/1\.png"):
        SourceItem("1", uri="s3://bucket/1.png").read_bytes()


def test_all_problems_are_counted_and_the_first_hundred_listed() -> None:
    problems = Problems()
    for row in range(250):
        problems.note(f"line {row}", "wrong")

    assert problems.count == 250
    assert len(problems.listed) == 100
