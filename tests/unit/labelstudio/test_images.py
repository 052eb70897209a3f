"""Fetching images from servers that may mean harm, over real sockets."""

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ml_backend.errors import ImageUnreadable, LabelStudioRefused, LabelStudioUnreachable
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.images import ImageReader

TOKEN = "0123456789abcdef0123456789abcdef01234567"
IMAGE = b"\x89PNG the bytes of an image"


class Host:
    """An HTTP server on loopback. `answers` maps a path to (status, headers, body)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], object]] = {}
        self.seen: list[tuple[str, str]] = []  # path, Authorization
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, path: str, body: object = IMAGE, status: int = 200, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, named, body)
        return f"{self.url}{path}"

    def redirect(self, path: str, to: str) -> str:
        return self.serve(path, b"", 302, Location=to)


@contextmanager
def hosting() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.seen.append((self.path, self.headers.get("Authorization", "")))
            status, headers, body = host.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if isinstance(body, bytes):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            parts = [body] if isinstance(body, bytes) else body()
            try:
                for part in parts:
                    self.wfile.write(part)
            except OSError:
                pass  # the reader had enough

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    host.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def label_studio_host() -> Iterator[Host]:
    with hosting() as host:
        yield host


@pytest.fixture
def elsewhere() -> Iterator[Host]:
    with hosting() as host:
        yield host


def reader(host: Host, root=None, **options) -> ImageReader:
    client = LabelStudioClient(host.url, TOKEN, 5.0)
    given = {"max_bytes": 1000, "timeout_s": 5.0, "private_addresses": True, **options}
    return ImageReader(client, root, **given)


def refused(images: ImageReader, uri: str, reason: str) -> None:
    with pytest.raises(ImageUnreadable, match=reason):
        images.read(1, uri)


# --- where images come from, and who sees the token


def test_an_upload_comes_from_label_studio_with_the_token(label_studio_host):
    label_studio_host.serve("/data/upload/1/a%20b.png")

    assert reader(label_studio_host).read(1, "/data/upload/1/a b.png") == IMAGE
    assert label_studio_host.seen == [("/data/upload/1/a%20b.png", f"Token {TOKEN}")]


def test_local_files_come_through_label_studio(label_studio_host):
    label_studio_host.serve("/data/local-files/?d=set/a.png")

    assert reader(label_studio_host).read(1, "/data/local-files/?d=set/a.png") == IMAGE


def test_cloud_storage_is_resolved_by_label_studio_and_fetched_without_the_token(
    label_studio_host, elsewhere
):
    uri = "s3://bucket/a?b/c>d.png"
    encoded = base64.urlsafe_b64encode(uri.encode()).decode().replace("=", "%3D")
    signed = elsewhere.serve("/bucket/object?signature=1")
    label_studio_host.redirect(f"/tasks/7/presign/?fileuri={encoded}", signed)

    assert reader(label_studio_host).read(7, uri) == IMAGE
    assert label_studio_host.seen[0][1] == f"Token {TOKEN}"
    assert elsewhere.seen == [("/bucket/object?signature=1", "")]


def test_a_bucket_without_a_storage_in_label_studio_is_named(label_studio_host):
    refused(reader(label_studio_host), "s3://pets/cat/1.png", "no storage for s3://pets: add one")


@pytest.mark.parametrize("status", [403, 404])
def test_an_object_that_its_storage_does_not_give_is_told_from_a_missing_storage(
    label_studio_host, elsewhere, status
):
    encoded = base64.urlsafe_b64encode(b"gs://pets/1.png").decode()
    signed = elsewhere.serve("/gone", b"", status)
    label_studio_host.redirect(f"/tasks/1/presign/?fileuri={encoded}", signed)

    refused(
        reader(label_studio_host), "gs://pets/1.png", f"answered {status}: the object is gone, or"
    )


def test_an_object_that_label_studio_asks_for_in_vain_says_whose_credentials_count(
    label_studio_host,
):
    encoded = base64.urlsafe_b64encode(b"s3://pets/1.png").decode()
    label_studio_host.serve(f"/tasks/1/presign/?fileuri={encoded}", b"", 424)

    refused(reader(label_studio_host), "s3://pets/1.png", "credentials of the storage of s3://pets")


def test_the_token_goes_to_label_studios_own_address_alone(label_studio_host, elsewhere):
    label_studio_host.serve("/a.png")
    other_port = elsewhere.serve("/b.png")
    images = reader(label_studio_host)

    images.read(1, f"{label_studio_host.url}/a.png")
    images.read(1, other_port)

    assert label_studio_host.seen == [("/a.png", f"Token {TOKEN}")]
    assert elsewhere.seen == [("/b.png", "")]


@pytest.mark.parametrize(
    "disguise", ["http://{ls}@{other}/x.png", "http://{ls}\\@{other}/x.png", "//{other}/x.png"]
)
def test_an_address_that_only_looks_like_label_studio_gets_no_token(
    label_studio_host, elsewhere, disguise
):
    uri = disguise.format(
        ls=f"127.0.0.1:{label_studio_host.port}", other=f"127.0.0.1:{elsewhere.port}"
    )

    with pytest.raises(ImageUnreadable):
        reader(label_studio_host).read(1, uri)
    assert all(authorization == "" for _, authorization in elsewhere.seen)


def test_a_redirect_back_to_label_studio_carries_the_token_again(label_studio_host, elsewhere):
    label_studio_host.serve("/data/upload/a.png")
    start = elsewhere.redirect("/go", f"{label_studio_host.url}/data/upload/a.png")

    assert reader(label_studio_host).read(1, start) == IMAGE
    assert elsewhere.seen == [("/go", "")]


# --- what is refused


def test_private_addresses_are_refused_and_never_asked(label_studio_host, elsewhere):
    images = reader(label_studio_host, private_addresses=False)

    refused(images, elsewhere.serve("/a.png"), r"private address 127\.0\.0\.1")
    assert elsewhere.seen == []


def test_label_studio_itself_may_be_at_a_private_address(label_studio_host):
    label_studio_host.serve("/data/upload/a.png")

    assert reader(label_studio_host, private_addresses=False).read(1, "/data/upload/a.png")


def test_a_redirect_to_a_private_address_is_refused(label_studio_host, elsewhere):
    label_studio_host.redirect("/data/upload/a.png", elsewhere.serve("/secret"))
    images = reader(label_studio_host, private_addresses=False)

    refused(images, "/data/upload/a.png", "private address")
    assert elsewhere.seen == []


def test_a_name_is_resolved_once_and_that_address_is_used(label_studio_host):
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["192.0.2.1"] if len(asked) == 1 else ["127.0.0.1"]

    images = reader(label_studio_host, private_addresses=False, resolver=rebinding)

    refused(images, "http://rebinding.example/a.png", "private address 192")
    refused(images, "http://rebinding.example/a.png", "private address 127")
    assert asked == [("rebinding.example", 80)] * 2


def test_hosts_off_the_list_are_refused(label_studio_host, elsewhere):
    images = reader(label_studio_host, allowed_hosts=["*.example.org"])

    refused(images, elsewhere.serve("/a.png"), "not among ACTIVE_LABELER_IMAGE_HOSTS")
    assert elsewhere.seen == []


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "no image"),
        ("data:image/png;base64,AAAA", "are not read"),
        ("file:///etc/passwd", "are not read"),
        ("ftp://a.org/x.png", "are not read"),
        ("photo.png", "are not read"),
        ("//a.org/x.png", "are not read"),
        ("http://", "no address|not an address"),
        ("http://a b/x", "not an address|could not be|cannot be"),
        ("http://[::1", "not an address"),
    ],
)
def test_other_kinds_of_address_are_refused_in_words(label_studio_host, uri, reason):
    refused(reader(label_studio_host), uri, reason)


def test_a_redirect_to_a_file_is_refused(label_studio_host):
    label_studio_host.redirect("/data/upload/a.png", "file:///etc/passwd")

    refused(reader(label_studio_host), "/data/upload/a.png", "no address on the web")


def test_redirects_in_a_circle_end(label_studio_host):
    label_studio_host.redirect("/data/upload/a.png", "/data/upload/a.png")

    refused(reader(label_studio_host), "/data/upload/a.png", "more than 5 redirects")
    assert len(label_studio_host.seen) == 6


def test_a_missing_image_says_what_was_answered(label_studio_host):
    refused(reader(label_studio_host), "/data/upload/gone.png", r"127\.0\.0\.1 answered 404")


def test_a_file_that_announces_too_much_is_not_read(label_studio_host):
    label_studio_host.serve("/data/upload/a.png", b"x" * 1001)

    refused(reader(label_studio_host), "/data/upload/a.png", "larger than 1,000 bytes")


def test_a_file_that_does_not_end_is_cut_off(label_studio_host):
    def endless():
        while True:
            yield b"x" * 500

    label_studio_host.serve("/data/upload/a.png", endless)

    refused(reader(label_studio_host), "/data/upload/a.png", "larger than 1,000 bytes")


def test_a_file_that_drips_runs_into_the_deadline(label_studio_host):
    def dripping():
        for _ in range(100):
            time.sleep(0.05)
            yield b"x"

    label_studio_host.serve("/data/upload/a.png", dripping)
    began = time.monotonic()

    refused(reader(label_studio_host, timeout_s=0.4), "/data/upload/a.png", r"within 0\.4 s")
    assert time.monotonic() - began < 2


def test_what_comes_compressed_is_refused(label_studio_host):
    label_studio_host.serve("/data/upload/a.png", IMAGE, Content_Encoding="gzip")

    refused(reader(label_studio_host), "/data/upload/a.png", "compressed")


def test_a_host_that_does_not_answer_is_named(label_studio_host):
    images = reader(label_studio_host)
    with hosting() as gone:
        closed = gone.url

    refused(images, f"{closed}/a.png", r"127\.0\.0\.1 could not be read")


# --- when it is not the image that is at fault


def test_label_studio_out_of_reach_is_not_blamed_on_the_image():
    with hosting() as host:
        images = reader(host)

    with pytest.raises(LabelStudioUnreachable):
        images.read(1, "/data/upload/a.png")


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, LabelStudioUnreachable), (401, LabelStudioRefused), (500, ImageUnreadable)],
)
def test_what_label_studio_answers_tells_its_own_troubles_from_an_images(
    label_studio_host, status, error
):
    label_studio_host.serve("/data/upload/a.png", b"", status)

    with pytest.raises(error):
        reader(label_studio_host).read(1, "/data/upload/a.png")


# --- files on this machine


def test_local_files_are_read_from_disk_where_the_folder_is_here(label_studio_host, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a b.png").write_bytes(IMAGE)
    images = reader(label_studio_host, tmp_path)

    assert images.read(1, "/data/local-files/?d=set/a%20b.png") == IMAGE
    assert label_studio_host.seen == []


def test_nothing_outside_the_folder_is_read(label_studio_host, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(IMAGE)
    (inside / "link").symlink_to(tmp_path / "secret")
    images = reader(label_studio_host, inside)

    refused(images, "/data/local-files/?d=../secret", "outside")
    refused(images, "/data/local-files/?d=link", "outside")
    refused(images, f"/data/local-files/?d={tmp_path}/secret", "No such file")


def test_a_large_or_missing_file_on_disk_is_said(label_studio_host, tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 1001)
    images = reader(label_studio_host, tmp_path)

    refused(images, "/data/local-files/?d=large", "larger than 1,000 bytes")
    refused(images, "/data/local-files/?d=missing", "missing: No such file")
    refused(images, "/data/local-files/?d=", "Is a directory")
