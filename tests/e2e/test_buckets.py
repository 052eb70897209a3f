"""Images in a bucket of an S3 server: labeled by a whole run, and left where they are.

The bucket is on loopback, as a MinIO of one's own would be on a private address.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.local_label_studio import free_port
from tests.e2e.processes import Answer, Daemon, base_environment, run_command
from tests.e2e.runs import Typed, find_the_export_right, kill, truth
from tests.e2e.stack import wait_until
from tests.few_digits import CLASSES, copy_first
from tests.label_studio_server import TestServer
from tests.s3_server import KEY, SECRET, S3Server

pytestmark = [
    pytest.mark.label_studio,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(900),
]

IMAGES_A_CLASS, LABELS = 18, 20
ODD_NAMES = ("a b+c", "ü ß 猫", "100%25", "h#f", "a;b", "[x]*", "back\\slash", "a=b&c")


@pytest.fixture
def digits(few_digits: Path, tmp_path: Path) -> Path:
    """A folder of digits, one subfolder a class."""
    return copy_first(few_digits, tmp_path / "digits", IMAGES_A_CLASS)


def objects_of(digits: Path, prefix: str = "") -> dict[str, bytes]:
    files = sorted(digits.glob("*/*.png"))
    return {f"{prefix}{file.parent.name}/{file.name}": file.read_bytes() for file in files}


def test_a_bucket_and_a_table_of_its_objects_are_labeled_by_runs(
    digits: Path, tmp_path: Path, s3: S3Server
) -> None:
    objects = objects_of(digits, "some/digits/")
    s3.fill("to-be-labeled", objects)
    rows = [f"s3://to-be-labeled/{key},{key.split('/')[2]}" for key in objects]
    runs = {"bucket": "{kind: fsspec, url: 's3://to-be-labeled/some/digits'}"}
    runs["table"] = "{kind: csv, path: table.csv}"
    port = free_port()
    with ExitStack() as whatever_happens:
        begun = []
        for name, source in runs.items():
            one = Typed(tmp_path / name, dict(s3.environment))
            one.folder.mkdir()
            (one.folder / "table.csv").write_text("\n".join(["image,label", *rows]))
            one.configure(source, LABELS, port=port)
            begun.append((one, one.start("--oracle", "--pace", "0")))
            whatever_happens.callback(kill, begun[-1][1])
        for one, process in begun:
            told = one.end_of(process)
            assert f"{LABELS} images are labeled, {LABELS} were wanted" in told
            assert SECRET not in told
            find_the_export_right(one, LABELS, truth(digits))
            assert one.nothing_runs()


# --- images that stay where they are


@dataclass(frozen=True)
class Backend:
    """`active-labeler serve` at work, and what is typed beside it."""

    label_studio: TestServer
    s3: S3Server
    folder: Path
    environment: dict[str, str] = field(repr=False)

    def command(self, *arguments: str, **environment: str) -> Answer:
        return run_command(arguments, {**self.environment, **environment}, self.folder)

    def answered(self, *arguments: str) -> Any:
        answer = self.command(*arguments, "--json")
        assert answer.out, answer.err
        return json.loads(answer.out)

    def connect(self, project_id: int, **environment: str) -> Answer:
        url = f"http://127.0.0.1:{self.environment['PORT']}"
        arguments = ("connect", "--project", str(project_id), "--backend-url", url, "--json")
        return self.command(*arguments, **environment)

    def project(self, title: str) -> int:
        choices = "".join(f'<Choice value="{name}"/>' for name in CLASSES)
        return self.label_studio.project(
            title,
            '<View><Image name="image" value="$image"/>'
            f'<Choices name="digit" toName="image" choice="single">{choices}</Choices></View>',
        )

    def add_storage(self, project_id: int, bucket: str, *, presign: bool) -> None:
        """Let Label Studio show the objects of a bucket, as its admin does in the settings."""
        wanted = {
            "project": project_id,
            "bucket": bucket,
            "s3_endpoint": self.s3.url,
            "aws_access_key_id": KEY,
            "aws_secret_access_key": SECRET,
            "presign": presign,
            "use_blob_urls": True,
        }
        answer = self.label_studio.http.post("/api/storages/s3", json=wanted)
        assert answer.is_success, answer.text


@pytest.fixture
def backend(label_studio: TestServer, s3: S3Server, tmp_path: Path) -> Iterator[Backend]:
    environment = base_environment(
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.personal_access_token,
        MODEL_DIR=tmp_path / "model-dir",
        PORT=free_port(),
        ACTIVE_LABELER_DEVICE="cpu",
        ACTIVE_LABELER_BACKBONE="scratch",
        OMP_NUM_THREADS=1,
        **s3.environment,
    )
    serve = Daemon("serve", environment, tmp_path)
    serve.start()
    try:
        health = f"http://127.0.0.1:{environment['PORT']}/health"
        wait_until(lambda: answers(health), "serve answers")
        yield Backend(label_studio, s3, tmp_path, environment)
    finally:
        serve.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


PRIVATE = {"ACTIVE_LABELER_IMAGE_PRIVATE_ADDRESSES": "true"}


@pytest.mark.parametrize(
    ("presign", "flags", "settings"),
    [
        (True, (), PRIVATE),  # Label Studio sends to the bucket, and we fetch there
        (False, ("--by-address",), {}),  # Label Studio hands the bytes on
    ],
    ids=["presigned", "handed on"],
)
def test_images_that_stay_in_a_bucket_are_all_embedded(
    presign: bool,
    flags: tuple[str, ...],
    settings: Mapping[str, str],
    digits: Path,
    backend: Backend,
) -> None:
    bucket = "presigned" if presign else "handed-on"
    objects = objects_of(digits)
    for name, key in zip(ODD_NAMES, [*objects], strict=False):  # others of the same pictures
        objects[f"{key.partition('/')[0]}/{name}.png"] = objects.pop(key)
    asked = "question?.png"
    backend.s3.fill(bucket, objects | {f"4/{asked}": b"not even read"})
    project_id = backend.project(bucket)
    backend.add_storage(project_id, bucket, presign=presign)

    report = backend.answered(
        *("import", "--url", f"s3://{bucket}", "--option", "labels=none"),
        *("--project", str(project_id), *flags),
    )
    answer = backend.connect(project_id, **settings).json
    findings = {each["check"]: each for each in answer["doctor"]}

    assert report["imported"] == len(objects)
    assert [where for where, _ in report["unreadable_listed"]] == [f"4/{asked}"]
    assert "rename it, or upload the images" in report["unreadable_listed"][0][1]
    assert answer["connected"]
    assert findings["images"]["state"] == "ok"
    assert findings["unreadable images"]["detail"] == "none"
    assert (answer["round"]["pool"], answer["round"]["unreadable"]) == (len(objects), 0)


def test_what_an_admin_has_yet_to_set_is_said_and_once_it_is_set_images_are_read(
    digits: Path, backend: Backend
) -> None:
    first = objects_of(digits)
    second = {key: first.pop(key) for key in [*first][::3]}
    for bucket, objects in (("first", first), ("second", second)):
        backend.s3.fill(bucket, objects)
    project_id = backend.project("yet to be set")

    def link(bucket: str) -> None:
        where = ("--option", "labels=none", "--project", str(project_id), "--by-address")
        backend.answered("import", "--url", f"s3://{bucket}", *where)

    def told(**environment: str) -> str:
        said = backend.connect(project_id, **environment)
        return " ".join((said.err + said.out).split())

    link("first")
    assert "no storage for s3://first: add one in the project's settings" in told()
    backend.add_storage(project_id, "first", presign=True)
    assert "ACTIVE_LABELER_IMAGE_PRIVATE_ADDRESSES=true would allow that" in told()
    hosts = PRIVATE | {"ACTIVE_LABELER_IMAGE_HOSTS": "images.example.org"}
    assert "127.0.0.1 is not among ACTIVE_LABELER_IMAGE_HOSTS" in told(**hosts)
    hosts["ACTIVE_LABELER_IMAGE_HOSTS"] += ",127.0.0.1"
    link("second")
    unread = told(**hosts)
    assert f"{len(second)} stand at the end of the queue" in unread
    assert "no storage for s3://second" in unread
    backend.add_storage(project_id, "second", presign=True)
    assert '"unreadable": 0' in told(**hosts)
