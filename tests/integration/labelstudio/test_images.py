"""Images as a real Label Studio keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_backend.errors import ImageUnreadable
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.images import ImageReader
from ml_backend.labelstudio.labeling_config import parse_control
from ml_backend.labelstudio.projects import ProjectReader
from tests.label_studio_server import LABEL_CONFIG, TestServer, small_png

pytestmark = pytest.mark.label_studio


@pytest.fixture(params=["personal access token", "legacy token"])
def client(request: pytest.FixtureRequest, label_studio: TestServer) -> Iterator[LabelStudioClient]:
    personal = request.param == "personal access token"
    token = label_studio.personal_access_token if personal else label_studio.process.token
    client = LabelStudioClient(label_studio.url, token, 60)
    assert client.token_kind == request.param
    yield client
    client.close()


def test_an_uploaded_image_comes_back_byte_for_byte(
    label_studio: TestServer, client: LabelStudioClient, tmp_path: Path
) -> None:
    picture = tmp_path / "a picture.png"
    picture.write_bytes(small_png())
    project_id = label_studio.project("images")
    label_studio.uploaded(project_id, [picture])
    control = parse_control(LABEL_CONFIG)
    ((task,),) = ProjectReader(client, project_id).tasks(control)

    images = ImageReader(client, max_bytes=10_000, timeout_s=10)

    assert task.image_uri.startswith("/data/upload/")
    assert images.read(task.task_id, task.image_uri) == small_png()


def test_a_local_file_comes_through_label_studio(
    label_studio: TestServer, client: LabelStudioClient
) -> None:
    root = label_studio.process.document_root
    assert root is not None
    (root / "set").mkdir(exist_ok=True)
    (root / "set" / "b.png").write_bytes(small_png((0, 0, 9)))
    project_id = label_studio.project("local files")
    storage = {"project": project_id, "path": str(root / "set"), "use_blob_urls": True}
    made = client.post("/api/storages/localfiles", storage)
    assert made["path"] == str(root / "set")

    images = ImageReader(client, max_bytes=10_000, timeout_s=10)

    assert images.read(1, "/data/local-files/?d=set/b.png") == small_png((0, 0, 9))


def test_an_upload_that_is_gone_is_said(client: LabelStudioClient) -> None:
    images = ImageReader(client, max_bytes=10_000, timeout_s=10)

    with pytest.raises(ImageUnreadable, match=r"answered (404|500)"):
        images.read(1, "/data/upload/1/gone.png")


def test_cloud_storage_of_a_task_that_has_none_is_said(
    label_studio: TestServer, client: LabelStudioClient
) -> None:
    (task_id,) = label_studio.tasks(label_studio.project("cloud"), 1)
    images = ImageReader(client, max_bytes=10_000, timeout_s=10)

    with pytest.raises(ImageUnreadable, match="has no storage for s3://no-bucket: add one"):
        images.read(task_id, "s3://no-bucket/a.png")
