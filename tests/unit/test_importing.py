"""Each image is imported once, whatever breaks when: answers that are lost, crashes, copies."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ml_backend.errors import ConfigurationError, LabelStudioError, LabelStudioUnreachable
from ml_backend.importing import (
    BATCH,
    ImportBench,
    ReadingRules,
    check_classes,
    import_images,
    survey,
)
from ml_backend.jobs.store import ImportProject, Store
from ml_backend.sources import SourceItem, open_source
from ml_backend.steps import send_images
from tests.fake_label_studio import FakeLabelStudio
from tests.fake_task_importer import FakeTaskImporter
from tests.unit.sources.pictures import png, write_images

UPLOAD = ReadingRules(upload=True, workers=2)


class Killed(BaseException):
    """The process ended here."""


class Clock:
    """Time moves only while somebody pauses."""

    def __init__(self) -> None:
        self.moment = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def pause(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(f"sqlite:///{tmp_path}/state.sqlite3")) as opened:
        yield opened


@pytest.fixture
def importer() -> FakeTaskImporter:
    return FakeTaskImporter(FakeLabelStudio())


@pytest.fixture
def bench(store: Store, importer: FakeTaskImporter) -> ImportBench:
    clock = Clock()
    url = "http://label-studio.invalid"
    return ImportBench(1, url, store, importer, clock.now, pause=clock.pause)


class Listed:
    """A source of given items."""

    def __init__(self, *items: SourceItem) -> None:
        self.listed = items
        self.problems: Any = None

    def items(self) -> Iterator[SourceItem]:
        yield from self.listed

    def count(self) -> int:
        return len(self.listed)

    def describe(self) -> str:
        return "a list"


def pictures(n: int, label: str | None = None) -> Listed:
    return Listed(*(picture(f"{row}.png", row, label) for row in range(n)))


def picture(key: str, content: int, label: str | None = None, **more: Any) -> SourceItem:
    return SourceItem(key, label=label, fetch=lambda _max: png(content), **more)


def hashes(importer: FakeTaskImporter) -> list[str]:
    """The images behind all tasks, one entry a task."""
    table = importer.server.task_table
    return [task.content_hash for task_id, task in importer.sent.items() if task_id in table]


def assert_each_once(importer: FakeTaskImporter, store: Store, n: int) -> None:
    assert len(hashes(importer)) == len(set(hashes(importer))) == n
    known = {image.task_id: image.content_hash for image in store.imported(1)}
    assert known == {task_id: task.content_hash for task_id, task in importer.sent.items()}
    assert store.unanswered_imports(1) == []


# --- what becomes of an image


def test_images_become_tasks_and_a_second_run_changes_nothing(bench, importer, store) -> None:
    n = 2 * BATCH + 3

    first = import_images(bench, pictures(n), UPLOAD)
    second = import_images(bench, pictures(n), UPLOAD)

    assert (first.imported, first.known) == (n, 0)
    assert (second.imported, second.known) == (0, n)
    assert_each_once(importer, store, n)


def test_labels_become_annotations(bench, importer) -> None:
    report = import_images(bench, Listed(picture("a", 1, "cat"), picture("b", 2)), UPLOAD)

    assert (report.imported, report.labeled) == (2, 1)
    assert [each.choice for each in importer.server.annotation_table.values()] == ["cat"]


def test_hidden_labels_stay_here_and_no_name_tells_them(bench, importer, store) -> None:
    item = picture("cat/felix.png", 1, "cat", split="train", metadata={"species": "cat"})

    import_images(replace(bench, show_labels=False), Listed(item), UPLOAD)

    [(task_id, task)] = importer.sent.items()
    assert (task.label, task.data, task.meta) == (None, {}, {})
    assert "cat" not in task.image_uri
    assert importer.server.annotation_table == {}
    assert store.imports_of_tasks(1, [task_id])[task_id].label == "cat"


def test_key_split_and_metadata_come_along(bench, importer) -> None:
    item = picture("felix.png", 1, split="train", metadata={"camera": "A"})

    import_images(bench, Listed(item), UPLOAD)

    [task] = importer.sent.values()
    assert task.data == {"camera": "A"}
    assert task.meta == {"key": "felix.png", "split": "train"}


def test_copies_are_imported_once_and_named(bench, importer, store) -> None:
    source = Listed(
        picture("a.png", 1, "cat"),
        picture("b.png", 1, "cat"),
        picture("a.png", 1, "cat"),
        picture("c.png", 1, "dog"),
    )

    report = import_images(bench, source, UPLOAD)

    assert report.imported == 1
    assert report.duplicates.listed[0] == ("b.png", "the same image as a.png")
    assert report.duplicates.count == 3
    assert report.conflicts.listed == [("c.png", "'dog' here, 'cat' at a.png")]
    assert_each_once(importer, store, 1)


def test_copies_in_another_batch_or_run_are_left_out_too(bench, importer, store) -> None:
    source = Listed(*pictures(BATCH).listed, picture("late copy.png", 0))

    report = import_images(bench, source, UPLOAD)
    again = import_images(bench, Listed(picture("renamed.png", 3)), UPLOAD)

    assert (report.duplicates.count, again.duplicates.count) == (1, 1)
    assert_each_once(importer, store, BATCH)


def test_what_is_no_image_is_left_out_with_its_reason(bench, tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", "1.png", "2.png")
    (root / "page.png").write_text("<html>login</html>")
    (root / "empty.png").write_bytes(b"")
    (root / "gone.png").symlink_to(root / "nowhere.png")

    report = import_images(bench, open_source({"kind": "folder", "path": root}), UPLOAD)

    assert report.imported == 2
    reasons = dict(report.unreadable.listed)
    assert reasons.keys() == {"page.png", "empty.png", "gone.png"}
    assert "web page" in reasons["page.png"]
    assert "0 bytes" in reasons["empty.png"]


def test_a_limit_ends_the_import_there(bench) -> None:
    assert import_images(bench, pictures(5), UPLOAD, limit=3).imported == 3


def test_progress_counts_every_image(bench) -> None:
    seen: list[int] = []

    import_images(bench, pictures(BATCH + 1), UPLOAD, seen.append)

    assert seen == [BATCH, BATCH + 1, BATCH + 1]


# --- where images are shown from


def test_uploads_are_named_by_what_they_are_and_become_png_where_browsers_show_no_such(
    bench, importer
) -> None:
    def saved(kind: str) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4), (9, 9, 9)).save(buffer, kind)
        return buffer.getvalue()

    files = {kind: saved(kind) for kind in ("PNG", "JPEG", "TIFF", "PPM")}
    items = [SourceItem(kind, fetch=lambda _max, kind=kind: files[kind]) for kind in files]

    import_images(bench, Listed(*items), UPLOAD)

    endings = [name.rpartition(".")[2] for name, _ in importer.uploads]
    assert endings == ["png", "jpg", "png", "png"]
    kept = [content for _, content in importer.uploads]
    assert kept[:2] == [files["PNG"], files["JPEG"]]
    assert all(content.startswith(b"\x89PNG") for content in kept[2:])


def test_local_files_are_linked_below_the_document_root(bench, importer, tmp_path: Path) -> None:
    root = tmp_path / "files"
    source = open_source({"kind": "folder", "path": write_images(root / "my set", "ä b.png")})

    import_images(
        replace(bench, document_root=root), source, ReadingRules(document_root=root, workers=1)
    )

    [task] = importer.sent.values()
    assert task.image_uri == "/data/local-files/?d=my%20set/%C3%A4%20b.png"
    assert importer.offered == [root / "my set" / "ä b.png"]
    assert importer.uploads == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/1.png", "s3://bucket/1.png"),
        ("gcs://bucket/1.png", "gs://bucket/1.png"),
        ("https://images.invalid/1.png", "https://images.invalid/1.png"),
    ],
)
def test_addresses_stay_as_label_studio_knows_them(bench, importer, uri: str, shown: str) -> None:
    import_images(bench, Listed(picture("1", 1, uri=uri)), ReadingRules())

    assert [task.image_uri for task in importer.sent.values()] == [shown]


def test_a_name_that_label_studio_would_cut_off_is_not_linked(bench, importer) -> None:
    report = import_images(
        bench, Listed(picture("1", 1, uri="gs://bucket/1?.png")), ReadingRules(by_address=True)
    )

    assert importer.sent == {}
    assert report.unreadable.listed[0][1].endswith("upload the images (--upload)")


def test_only_what_needs_a_storage_is_uploaded_where_there_is_none(bench, importer) -> None:
    stored, public = "s3://bucket/1?.png", "https://images.invalid/2.png"
    source = Listed(picture("1", 1, uri=stored), picture("2", 2, uri=public))

    import_images(bench, source, ReadingRules(upload_stored=True))

    first, second = (task.image_uri for task in importer.sent.values())
    assert (len(importer.uploads), second) == (1, public)
    assert first.startswith("/data/upload/")


def test_by_address_fetches_nothing_and_is_as_idempotent(bench, importer, store) -> None:
    def never(_max_bytes: int) -> bytes:
        raise AssertionError("fetched")

    source = Listed(*(SourceItem(str(n), uri=f"s3://b/{n}.png", fetch=never) for n in range(3)))
    rules = ReadingRules(by_address=True)

    assert import_images(bench, source, rules).imported == 3
    assert import_images(bench, source, rules).known == 3
    assert_each_once(importer, store, 3)


@pytest.mark.parametrize(
    ("item", "root", "says"),
    [
        (picture("array", 1), None, "upload the images"),
        (picture("m", 1, uri="memory://x/1.png"), None, "upload the images"),
        (picture("f", 1, path=Path("/images/1.png")), None, "LOCAL_FILES_DOCUMENT_ROOT"),
        (picture("f", 1, path=Path("/images/1.png")), Path("/srv"), "lies outside"),
    ],
)
def test_images_that_label_studio_could_not_show_are_refused(
    bench, importer, item: SourceItem, root: Path | None, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        import_images(bench, Listed(item), ReadingRules(document_root=root))
    assert importer.sent == {}


# --- crashes and lost answers


@pytest.mark.parametrize("trouble", ["lost request", "lost answer", 1, 5])
def test_a_lost_answer_makes_no_double_and_loses_nothing(
    bench, importer, store, trouble: Any
) -> None:
    importer.troubles = [trouble]

    report = import_images(bench, pictures(BATCH + 5), UPLOAD)

    assert report.imported == BATCH + 5
    assert_each_once(importer, store, BATCH + 5)


def test_an_outage_ends_the_import_and_the_next_goes_on(bench, importer, store) -> None:
    importer.troubles = ["lost request"] * send_images.ATTEMPTS
    with pytest.raises(LabelStudioUnreachable):
        import_images(bench, pictures(4), UPLOAD)

    import_images(bench, pictures(4), UPLOAD)

    assert_each_once(importer, store, 4)


def test_what_label_studio_refuses_can_be_sent_again(bench, importer, store) -> None:
    importer.troubles = ["refused"]
    with pytest.raises(LabelStudioError, match="no \\$text"):
        import_images(bench, pictures(4), UPLOAD)
    assert store.unanswered_imports(1) == []

    import_images(bench, pictures(4), UPLOAD)

    assert_each_once(importer, store, 4)


@pytest.mark.parametrize("moment", ["before it is noted", "after it is noted", "after it is sent"])
@pytest.mark.parametrize("still_at_work", [False, True])
def test_a_crash_at_any_moment_makes_no_double_and_loses_nothing(
    bench, importer, store, monkeypatch, moment: str, still_at_work: bool
) -> None:
    import_images(bench, pictures(3), UPLOAD)

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if moment == "before it is noted":
            patched.setattr(store, "note_imports", killed)
        elif moment == "after it is noted":
            patched.setattr(importer, "send", killed)
        else:
            patched.setattr(store, "confirm_imports", killed)
        if still_at_work and moment == "after it is sent":
            importer.troubles = [4]  # Label Studio goes on when the client is gone
        with pytest.raises(Killed):
            import_images(bench, pictures(9), UPLOAD)

    report = import_images(bench, pictures(9), UPLOAD)

    assert report.imported + report.known == 9
    assert_each_once(importer, store, 9)


def test_a_crash_while_settling_is_settled_too(bench, importer, store, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store, "confirm_imports", lambda *_: (_ for _ in ()).throw(Killed))
        for _ in range(2):  # sending, then settling
            with pytest.raises(Killed):
                import_images(bench, pictures(3), UPLOAD)

    import_images(bench, pictures(3), UPLOAD)

    assert_each_once(importer, store, 3)


def test_tasks_that_took_the_ids_of_deleted_ones_are_found(bench, importer, store) -> None:
    import_images(bench, pictures(3), UPLOAD)
    newest = max(importer.sent)
    importer.troubles = ["lost answer"]
    importer.find = _reusing(importer, newest)

    import_images(bench, pictures(4), UPLOAD)

    assert len(hashes(importer)) == len(set(hashes(importer))) == 4


def _reusing(importer: FakeTaskImporter, newest: int) -> Any:
    """As if the lost task stood below the newest id: it shows only to who looks from the start."""
    find = importer.find
    return lambda hashes, after: {} if after >= newest else find(hashes, after)


# --- which project it is


def test_another_project_of_the_same_number_starts_anew(bench, importer, store) -> None:
    import_images(bench, pictures(2), UPLOAD)
    importer.made_at = "2031-01-01T00:00:00Z"  # it was deleted, and the number given again

    assert import_images(bench, pictures(2), UPLOAD).imported == 2


def test_another_label_studio_needs_another_folder(bench, store) -> None:
    import_images(bench, pictures(1), UPLOAD)

    with pytest.raises(ConfigurationError, match="use another MODEL_DIR"):
        import_images(replace(bench, label_studio_url="http://other"), pictures(1), UPLOAD)


def test_what_is_settled_is_looked_for_above_what_was_there_before(bench, importer, store) -> None:
    importer.server.add_tasks(7)

    import_images(bench, pictures(1), UPLOAD)

    assert store.import_project(1) == ImportProject(
        project_id=1,
        label_studio_url=bench.label_studio_url,
        created_at=importer.made_at,
        first_task_after=7,
    )


# --- classes


def test_a_survey_counts_classes_without_reading_an_image() -> None:
    found = survey(
        Listed(SourceItem("a", label="dog"), SourceItem("b", label="cat"), SourceItem("c"))
    )

    assert (found.images, found.labels) == (3, {"cat": 1, "dog": 1})
    assert list(found.labels) == ["cat", "dog"]


def test_a_column_that_is_no_class_is_refused() -> None:
    items = (SourceItem(str(n), label=f"text {n}") for n in range(10_001))

    with pytest.raises(ConfigurationError, match="is that the column of classes"):
        survey(Listed(*items))


def test_labels_that_the_project_does_not_have_are_named() -> None:
    check_classes({"cat"}, ("cat", "dog"))
    with pytest.raises(ConfigurationError, match=r"no choice 'bird', 'fish' \(it has 'cat'\)"):
        check_classes({"cat", "fish", "bird"}, ("cat",))
