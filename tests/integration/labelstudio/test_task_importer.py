"""Local files are offered once, and what Label Studio refuses is told with what to set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_backend.errors import ConfigurationError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.labeling_config import parse_control
from ml_backend.labelstudio.new_project import config_of_classes, create_project
from ml_backend.labelstudio.task_importer import TaskImporter
from tests.label_studio_server import LABEL_CONFIG, TestServer

pytestmark = pytest.mark.label_studio


@pytest.fixture
def client(label_studio: TestServer) -> Iterator[LabelStudioClient]:
    made = LabelStudioClient(label_studio.url, label_studio.personal_access_token, timeout_s=60)
    yield made
    made.close()


def importer_of(client: LabelStudioClient, project_id: int) -> TaskImporter:
    return TaskImporter(client, project_id, parse_control(LABEL_CONFIG))


def test_a_folder_is_offered_once_however_often_it_is_asked_for(
    label_studio: TestServer, client: LabelStudioClient
) -> None:
    root = label_studio.process.document_root
    assert root is not None
    (root / "offered" / "inner").mkdir(parents=True)
    project_id = label_studio.project("offering")
    files = [root / "offered" / "1.png", root / "offered" / "inner" / "2.png"]

    for _ in range(2):
        importer = importer_of(client, project_id)
        importer.offer_local_files(files, root)
        importer.offer_local_files(files[1:], root)

    made = client.get("/api/storages/localfiles", {"project": project_id})
    assert [each["path"] for each in made] == [str(root / "offered")]


def test_what_label_studio_may_not_show_is_told_with_what_to_set(
    label_studio: TestServer, client: LabelStudioClient, tmp_path: Path
) -> None:
    importer = importer_of(client, label_studio.project("refused"))

    with pytest.raises(ConfigurationError, match=r"LOCAL_FILES_SERVING_ENABLED.*--upload"):
        importer.offer_local_files([tmp_path / "sub" / "1.png"], tmp_path)


def test_a_project_of_hostile_classes_is_made(client: LabelStudioClient) -> None:
    classes = ("cat", '"/><Choice value="x', "$5 & more")

    project_id = create_project(client, "Hostile", config_of_classes(classes))

    config = client.get(f"/api/projects/{project_id}/")["label_config"]
    assert parse_control(config).classes == classes


def test_a_title_that_label_studio_refuses_is_told_in_its_words(client: LabelStudioClient) -> None:
    with pytest.raises(ConfigurationError, match="makes no project 'x'"):
        create_project(client, "x", config_of_classes(("a", "b")))
