"""Images: copied or linked, fetched once, and what is wrong with one stops no export."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.exporting import pictures
from ml_backend.exporting.pictures import ImageFiles
from ml_backend.exporting.tables import read_table
from tests.unit.exporting.builders import FakeFiles, export, image, image_bytes, label_set, pets

REPOSITORY = Path(__file__).resolve().parents[3]


def local_files(folder: Path, *task_ids: int) -> dict[str, Path]:
    folder.mkdir()
    made = {}
    for task_id in task_ids:
        path = folder / f"{task_id}.png"
        path.write_bytes(image_bytes(task_id))
        made[image(task_id, "cat").image_uri] = path
    return made


def test_local_files_are_linked_and_nothing_is_fetched(tmp_path: Path) -> None:
    files = FakeFiles(local=local_files(tmp_path / "images", 1, 2, 3))
    export(pets(), tmp_path / "out", files, links=True)
    linked = tmp_path / "out" / "human" / "cat" / "1-abc-1.png"
    assert linked.readlink() == tmp_path / "images" / "1.png"
    assert linked.read_bytes() == image_bytes(1)
    assert files.reads == []


def test_links_are_refused_where_an_image_is_no_file_here(tmp_path: Path) -> None:
    files = FakeFiles(local=local_files(tmp_path / "images", 1, 2))
    with pytest.raises(ConfigurationError, match=r"1 of 3 images.*task 3.*--copies"):
        export(pets(), tmp_path / "out", files, links=True)
    assert not (tmp_path / "out").exists()


def test_local_files_are_copied_without_asking_label_studio(tmp_path: Path) -> None:
    files = FakeFiles(local=local_files(tmp_path / "images", 1, 2))
    export(pets(), tmp_path / "out", files)
    copied = tmp_path / "out" / "human" / "cat" / "1-abc-1.png"
    assert not copied.is_symlink()
    assert copied.read_bytes() == image_bytes(1)
    assert files.reads == [3]


def test_formats_share_one_file(tmp_path: Path) -> None:
    export(pets(), tmp_path / "out")
    one, other = (
        tmp_path / "out" / place / "1-abc-1.png" for place in ("human/cat", "huggingface/human")
    )
    assert one.samefile(other)


def test_where_a_file_can_have_one_name_only_formats_have_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    counts = export(pets(), tmp_path / "out")
    assert counts["images"] == 3
    assert (tmp_path / "out" / "human" / "cat" / "1-abc-1.png").read_bytes() == image_bytes(1)


def test_an_image_that_cannot_be_read_keeps_its_label_and_is_named(tmp_path: Path) -> None:
    counts = export(pets(), tmp_path / "out", FakeFiles(unreadable={1: "it is cut off"}))
    assert (counts["human"], counts["images"], counts["images_missing"]) == (2, 2, 1)
    [row] = read_table(tmp_path / "out" / "images_missing.csv")
    assert row == {"task_id": "1", "reason": "it is cut off"}
    first, _ = read_table(tmp_path / "out" / "human" / "labels.csv")
    assert (first["label"], first["file"]) == ("cat", "")
    assert "1 images are missing" in (tmp_path / "out" / "README.txt").read_text()


def test_an_image_that_is_another_one_by_now_is_not_passed_off_as_the_labeled_one(
    tmp_path: Path,
) -> None:
    counts = export(pets(), tmp_path / "out", FakeFiles(content={2: image_bytes(77)}))
    assert counts["images_missing"] == 1
    [row] = read_table(tmp_path / "out" / "images_missing.csv")
    assert "another one than when it was labeled" in row["reason"]


@pytest.mark.parametrize(
    ("begins", "ending"),
    [
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"GIF89a", ".gif"),
        (b"II*\x00", ".tif"),
        (b"BM", ".bmp"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", ".webp"),
        (b"\x00\x00\x00\x1cftypavif", ".avif"),
        (b"P6 1 1", ""),
    ],
)
def test_an_image_without_an_ending_gets_one_by_its_content(
    tmp_path: Path, begins: bytes, ending: str
) -> None:
    labels = label_set([image(1, "cat", image_uri="s3://b/key", content_hash=None)])
    export(labels, tmp_path / "out", FakeFiles(content={1: begins}), formats=["folders"])
    assert (tmp_path / "out" / "human" / "cat" / f"1-key{ending}").read_bytes() == begins


def test_a_stopped_export_leaves_nothing_and_goes_on_with_what_it_has_fetched(
    tmp_path: Path,
) -> None:
    labels, target = label_set([image(n, "cat") for n in range(1, 31)]), tmp_path / "out"
    first = FakeFiles(stop_before=25)
    with pytest.raises(ConnectionError):
        export(labels, target, first)
    assert not target.exists()
    again = FakeFiles()
    export(labels, target, again)
    assert set(again.reads) == set(range(1, 31)) - set(first.reads)
    assert len(first.reads) >= 10
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


SLOW_EXPORT = """
import sys, time
from pathlib import Path
from tests.unit.exporting.builders import FakeFiles, export, image, label_set

class Slow(FakeFiles):
    def read(self, task_id, uri):
        time.sleep(0.02)
        return super().read(task_id, uri)

export(label_set([image(n, "cat") for n in range(1, 201)]), Path(sys.argv[1]), Slow())
"""


def test_a_killed_export_leaves_nothing_and_goes_on_with_what_it_has_fetched(
    tmp_path: Path,
) -> None:
    target, images = tmp_path / "out", tmp_path / ".out.unfinished" / ".images"
    command = [sys.executable, "-c", SLOW_EXPORT, str(target)]
    with subprocess.Popen(command, cwd=REPOSITORY) as killed:
        while killed.poll() is None and len(list(images.glob("*.png"))) < 20:
            time.sleep(0.005)
        killed.kill()
    assert not target.exists()
    had = len(list(images.glob("*.png")))
    again = FakeFiles()
    counts = export(label_set([image(n, "cat") for n in range(1, 201)]), target, again)
    assert had >= 20
    assert len(again.reads) == 200 - had
    assert counts["images"] == 200
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_half_written_or_damaged_image_is_fetched_again(tmp_path: Path) -> None:
    stage = tmp_path / ".out.unfinished"
    with pytest.raises(ConnectionError):
        export(pets(), tmp_path / "out", FakeFiles(stop_before=3))
    (stage / ".images" / "1-abc-1.png").write_bytes(b"half")
    (stage / ".images" / "3-.part").write_bytes(b"half")
    again = FakeFiles()
    export(pets(), tmp_path / "out", again)
    assert {1, 3} <= set(again.reads)
    assert (tmp_path / "out" / "human" / "cat" / "1-abc-1.png").read_bytes() == image_bytes(1)


def test_images_of_another_project_are_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        export(pets(), tmp_path / "out", FakeFiles(stop_before=3))
    mark = tmp_path / ".out.unfinished" / ".active-labeler-export"
    assert json.loads(mark.read_text()) == ["http://ls", 1]
    mark.write_text(json.dumps(["http://ls", 2]))
    again = FakeFiles()
    export(pets(), tmp_path / "out", again)
    assert sorted(again.reads) == [1, 2, 3]


def test_a_full_disk_is_no_fault_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_source: object, target: object) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(pictures.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        export(pets(), tmp_path / "out", FakeFiles(local=local_files(tmp_path / "i", 1, 2, 3)))


def test_progress_counts_images_to_the_end(tmp_path: Path) -> None:
    told = []
    images = [image(n, "cat") for n in range(1, 8)]
    files = ImageFiles(FakeFiles(unreadable={3: "no"}).read, lambda _uri: None, workers=2)
    found, missing = pictures.gather(
        tmp_path, images, files, lambda done, total: told.append((done, total))
    )
    assert told == [(n, 7) for n in range(1, 8)]
    assert (len(found), missing) == (6, {3: "no"})


def test_a_file_outside_the_folder_of_local_files_is_refused(tmp_path: Path) -> None:
    from ml_backend.labelstudio.images import local_file

    (tmp_path / "root").mkdir()
    assert local_file(tmp_path / "root", "/data/local-files/?d=a/b.png") == (
        tmp_path / "root" / "a" / "b.png"
    )
    assert local_file(tmp_path / "root", "/data/upload/1/b.png") is None
    assert local_file(None, "/data/local-files/?d=a/b.png") is None
    with pytest.raises(ImageUnreadable, match="outside"):
        local_file(tmp_path / "root", "/data/local-files/?d=../secret.png")
