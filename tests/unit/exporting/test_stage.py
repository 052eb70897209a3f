"""An export appears whole, and what others put into its place is never lost."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from ml_backend.errors import ConfigurationError
from ml_backend.exporting import stage
from ml_backend.exporting.checking import check
from tests.unit.exporting.builders import below, export, image, label_set, pets


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder with an export in it."""
    export(pets(), tmp_path / "out")
    return tmp_path / "out"


def newer() -> object:
    """Another export: one class fewer has images."""
    return label_set([image(1, "cat")], [image(3, "cat", 0.99)])


def siblings(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


def test_a_folder_that_holds_something_is_refused(target: Path) -> None:
    before = below(target)
    with pytest.raises(ConfigurationError, match="not empty"):
        export(newer(), target)
    assert below(target) == before
    assert siblings(target) == {"out"}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(pets(), tmp_path / "out")
    check(tmp_path / "out")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigurationError, match="is a file"):
        export(pets(), tmp_path / "out", force=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_force_replaces_what_an_export_wrote_and_keeps_the_rest(target: Path) -> None:
    (target / "notes.txt").write_text("mine")
    (target / "human" / "dog" / "mine.png").write_bytes(b"mine")
    (target / "empty").mkdir()
    (target / "link").symlink_to(target.parent)
    export(newer(), target, force=True)
    found = below(target)
    assert found["notes.txt"] == b"mine"
    assert found["human/dog/mine.png"] == b"mine"
    assert "human/dog/2-abc-2.png" not in found
    assert (target / "empty").is_dir()
    assert (target / "link").readlink() == target.parent
    assert not (target / "huggingface" / "human" / "2-abc-2.png").exists()
    assert check(target)["human"] == 1
    assert siblings(target) == {"out"}


def test_folders_of_the_old_export_that_are_empty_now_go(target: Path) -> None:
    export(newer(), target, force=True)
    assert not (target / "human" / "dog").exists()


def test_force_takes_a_folder_that_no_export_wrote_and_keeps_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    export(pets(), tmp_path / "out", force=True)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"
    check(tmp_path / "out")


@pytest.mark.parametrize("name", ["human/labels.csv", "README.txt", "human"])
def test_somebodys_file_where_ours_would_go_is_refused(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConfigurationError, match="move it away"):
        export(pets(), tmp_path / "out", force=True)
    assert below(tmp_path / "out") == {name: b"mine"}


def test_a_file_inside_what_would_be_a_file_of_ours_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "out" / "README.txt" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConfigurationError, match="move it away"):
        export(pets(), tmp_path / "out", force=True)
    assert mine.read_text() == "mine"


def test_a_file_of_ours_that_somebody_has_changed_is_theirs(target: Path) -> None:
    (target / "human" / "labels.csv").write_text("corrected by hand")
    with pytest.raises(ConfigurationError, match=r"no longer, what an export wrote"):
        export(newer(), target, force=True)
    assert (target / "human" / "labels.csv").read_text() == "corrected by hand"


def test_a_linked_folder_that_somebody_put_in_place_of_ours_is_not_emptied(target: Path) -> None:
    outside = target.parent / "outside"
    (target / "human" / "dog").rename(outside)
    (target / "human" / "dog").symlink_to(outside)
    export(newer(), target, force=True)
    assert [path.name for path in outside.iterdir()] == ["2-abc-2.png"]
    assert (target / "human" / "dog").is_symlink()


@pytest.mark.parametrize("renames_done", [1, 2])
def test_a_kill_while_one_export_replaces_another_loses_nothing(
    target: Path, monkeypatch: pytest.MonkeyPatch, renames_done: int
) -> None:
    (target / "notes.txt").write_text("mine")
    (target / "deep").mkdir()
    (target / "deep" / "more.txt").write_text("mine too")
    rename, done = Path.rename, []

    def killed(self: Path, to: Path) -> Path:
        if len(done) == renames_done:
            raise KeyboardInterrupt
        done.append(to)
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        export(newer(), target, force=True)
    monkeypatch.setattr(Path, "rename", rename)
    export(newer(), target, force=True)
    assert (target / "notes.txt").read_text() == "mine"
    assert (target / "deep" / "more.txt").read_text() == "mine too"
    assert check(target)["human"] == 1
    assert siblings(target) == {"out"}


def test_a_stage_that_no_export_made_is_left_alone(tmp_path: Path) -> None:
    stranger = tmp_path / ".out.unfinished"
    stranger.mkdir()
    (stranger / "thing").write_text("mine")
    with pytest.raises(ConfigurationError, match="in the way"):
        export(pets(), tmp_path / "out")
    assert (stranger / "thing").read_text() == "mine"


def test_two_exports_to_one_folder_do_not_mix(tmp_path: Path) -> None:
    unfinished = tmp_path / ".out.unfinished"
    unfinished.mkdir()
    with (unfinished / stage._MARK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="at work"):
            export(pets(), tmp_path / "out")


def test_a_manifest_that_names_files_elsewhere_deletes_none_of_them(target: Path) -> None:
    precious = target.parent / "precious"
    precious.write_text("mine")
    manifest = target / "manifest.json"
    listed = f'"files": {{"../precious": {{"sha256": "x"}}, "{precious}": {{"sha256": "x"}},'
    manifest.write_text(manifest.read_text().replace('"files": {', listed))
    export(newer(), target, force=True)
    assert precious.read_text() == "mine"
