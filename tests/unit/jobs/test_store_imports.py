"""What was imported is known by content, until Label Studio has answered and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from ml_backend.errors import ConfigurationError
from ml_backend.jobs.import_lock import one_import
from ml_backend.jobs.store import ImportedImage, ImportProject, Store

from .builders import NOW, project

PROJECT = ImportProject(
    project_id=1, label_studio_url="http://here", created_at="2030", first_task_after=5
)


@pytest.fixture
def imports(database_url: str) -> Iterator[Store]:
    with closing(Store.open(database_url)) as store:
        store.begin_imports(PROJECT)
        yield store


def image(number: int, label: str | None = "cat") -> ImportedImage:
    return ImportedImage(
        content_hash=f"{number:064x}",
        source_key=f"{number}.png",
        label=label,
        split="train",
        sent_at=NOW,
    )


def test_images_are_unanswered_until_they_are_confirmed(imports: Store) -> None:
    images = [image(1), image(2, None)]
    imports.note_imports(1, images)
    assert imports.unanswered_imports(1) == images
    assert imports.newest_import(1) is None

    imports.confirm_imports(1, {images[0].content_hash: 70, images[1].content_hash: 71})

    assert imports.unanswered_imports(1) == []
    assert list(imports.imported(1)) == [
        replace(images[0], task_id=70),
        replace(images[1], task_id=71),
    ]
    assert (imports.newest_import(1), imports.import_count(1)) == (71, 2)


def test_images_are_found_by_content_and_by_task(imports: Store) -> None:
    imports.note_imports(1, [image(1), image(2)])
    imports.confirm_imports(1, {image(2).content_hash: 9})

    known = imports.known_imports(1, [image(number).content_hash for number in range(1, 4)])

    assert known.keys() == {image(1).content_hash, image(2).content_hash}
    assert imports.imports_of_tasks(1, [8, 9]) == {9: replace(image(2), task_id=9)}
    assert imports.known_imports(2, [image(1).content_hash]) == {}


def test_noting_is_all_or_none(imports: Store) -> None:
    imports.note_imports(1, [image(1)])

    with pytest.raises(IntegrityError):
        imports.note_imports(1, [image(2), image(1)])

    assert imports.unanswered_imports(1) == [image(1)]


def test_only_what_has_no_task_can_be_forgotten(imports: Store) -> None:
    imports.note_imports(1, [image(1), image(2)])
    imports.confirm_imports(1, {image(1).content_hash: 9})

    imports.forget_imports(1, [image(1).content_hash, image(2).content_hash])

    assert list(imports.imported(1)) == [replace(image(1), task_id=9)]
    assert imports.unanswered_imports(1) == []


def test_thousands_stream_in_order_of_their_tasks(imports: Store) -> None:
    images = [image(number) for number in range(2500)]
    imports.note_imports(1, images)
    imports.confirm_imports(1, {each.content_hash: 9000 - n for n, each in enumerate(images)})

    tasks = [each.task_id for each in imports.imported(1)]

    assert tasks == sorted(tasks)
    assert len(tasks) == 2500
    assert len(imports.imports_of_tasks(1, [task for task in tasks if task])) == 2500


def test_beginning_again_forgets_what_another_project_of_the_number_had(imports: Store) -> None:
    imports.note_imports(1, [image(1)])

    imports.begin_imports(replace(PROJECT, created_at="2031"))

    assert imports.unanswered_imports(1) == []
    assert imports.import_projects() == [replace(PROJECT, created_at="2031")]
    assert imports.import_project(2) is None


def test_detaching_a_project_keeps_what_was_imported(imports: Store) -> None:
    imports.save_project(project(1))
    imports.note_imports(1, [image(1)])

    imports.remove_project(1)

    assert imports.unanswered_imports(1) == [image(1)]


def test_two_imports_at_once_are_refused_and_one_after_the_other_is_not(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigurationError, match="another import")
    with one_import(tmp_path / "7"), refused, one_import(tmp_path / "7"):
        pass
    with one_import(tmp_path / "7"), one_import(tmp_path / "8"):
        pass
