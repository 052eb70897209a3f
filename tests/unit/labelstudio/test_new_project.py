"""Class names of data sets are hostile: they are stored as they are, and none becomes markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.errors import ConfigurationError
from ml_backend.labelstudio.labeling_config import parse_control
from ml_backend.labelstudio.new_project import NO_XML, config_of_classes
from ml_backend.labelstudio.task_importer import _fewest, local_files_address


@pytest.mark.parametrize(
    "name",
    ['"/><Choice value="x', "a & b", "<b>", "'", "ünï ☃ 🐈", "]]>", "&#10;", "$price", "a\tb"],
)
def test_a_hostile_class_name_is_one_class(name: str) -> None:
    config = config_of_classes(["cat", name])

    assert parse_control(config).classes == ("cat", name)
    assert config.count("<Choice ") == 2


@given(st.lists(st.text(min_size=1), min_size=2, max_size=5, unique=True))
def test_any_names_survive_or_are_refused(names: list[str]) -> None:
    if any(not name.strip() or NO_XML.search(name) for name in names):
        with pytest.raises(ConfigurationError):
            config_of_classes(names)
    else:
        assert parse_control(config_of_classes(names)).classes == tuple(names)


def test_a_dollar_is_shown_so_that_the_front_end_looks_for_no_field() -> None:
    assert 'value="$5"' not in config_of_classes(["$5", "cat"])


@pytest.mark.parametrize("classes", [[], ["cat"]])
def test_fewer_than_two_classes_are_refused_with_what_to_do(classes: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="--classes cat,dog"):
        config_of_classes(classes)


def test_a_class_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="more than once"):
        config_of_classes(["cat", "dog", "cat"])


def test_local_files_have_an_address_below_the_root_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a & b").mkdir(parents=True)
    (tmp_path / "outside.png").touch()
    (root / "link.png").symlink_to(tmp_path / "outside.png")

    inside = local_files_address(root / "a & b" / "1?.png", root)

    assert inside == "/data/local-files/?d=a%20%26%20b/1%3F.png"
    assert local_files_address(tmp_path / "outside.png", root) is None
    assert local_files_address(root / "link.png", root) is None


def test_the_fewest_folders_are_offered_and_never_the_root_itself() -> None:
    root = Path("/data")

    assert _fewest([root / "a/x", root / "a/y"], root) == [root / "a"]
    assert _fewest([root / "a/x", root / "b"], root) == [root / "a", root / "b"]
    assert _fewest([], root) == []


def test_the_key_of_a_digit_is_that_digit_where_all_classes_are_digits() -> None:
    assert '<Choice value="0" hotkey="0" />' in config_of_classes(["0", "1"])
    assert "hotkey" not in config_of_classes(["1", "cat"]), "the cat would be given the key 1, too"
