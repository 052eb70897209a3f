"""Buckets of a real S3 server: what they hold, who may read them, and what breaks meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.sources import open_source
from ml_backend.steps.read_source import ReadingRules, read_ahead
from tests.s3_server import SECRET, S3Server, running_s3, without_logins

from .pictures import by_key, found, png

PROMPT = {"config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 2}}


def opened(url: str, **storage_options: Any) -> Any:
    return open_source({"kind": "fsspec", "url": url, "storage_options": storage_options})


@pytest.fixture
def only_named_logins(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No credentials but those that a test names."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name, value in without_logins().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@contextmanager
def counting(server: S3Server) -> Iterator[tuple[str, list[int]]]:
    """Stand between a reader and the server; yield an address and the sizes of what passes."""
    behind, sizes, ends = urlsplit(server.url), list[int](), list[socket.socket]()
    ends.append(socket.create_server(("127.0.0.1", 0)))

    def pass_on(source: socket.socket, target: socket.socket, seen: list[int]) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                seen.append(len(part))
                target.sendall(part)

    def accept() -> None:
        with suppress(OSError), ThreadPoolExecutor() as threads:
            while True:
                ends.append(ends[0].accept()[0])
                ends.append(socket.create_connection((behind.hostname, behind.port)))
                threads.submit(pass_on, ends[-2], ends[-1], [])
                threads.submit(pass_on, ends[-1], ends[-2], sizes)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{ends[0].getsockname()[1]}", sizes
    finally:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for end in ends:
            end.close()


# --- what a bucket holds


def test_keys_of_all_sorts_are_read_and_what_is_no_image_is_not_one(s3: S3Server) -> None:
    keys = [
        *("cat/1.png", "cat/a b+c.png", "cat/ü ß 猫.png", "cat/100%25.png", "cat/50%.png"),
        *("cat/q?x=1#f.png", "cat/[x]*.png", "cat/{b}.png", "dog/deep/4.png", "dog/a;b.png"),
        *("dog/x:y.png", "dog/back\\slash.png"),
    ]
    pictures = {key: png(number) for number, key in enumerate(keys)}
    others = {"cat/": b"", "dog/no-images/": b"", "dog/readme.txt": b"!", "dog/.hidden.png": b"?"}
    s3.fill("odd", pictures | others)

    items = by_key(opened("s3://odd/", **s3.options))

    assert {key: item.read_bytes() for key, item in items.items()} == pictures
    assert {item.label for key, item in items.items() if key.startswith("cat/")} == {"cat"}
    assert {item.uri for item in items.values()} == {f"s3://odd/{key}" for key in keys}


def test_an_empty_object_is_an_image_that_cannot_be_read(s3: S3Server) -> None:
    s3.fill("empty", {"1.png": b"", "2.png": png()})

    [(_, first), (_, second)] = read_ahead(
        opened("s3://empty", **s3.options).items(), ReadingRules(upload=True)
    )

    assert str(first) == "The file is empty (0 bytes)."
    assert not isinstance(second, ImageUnreadable)


def test_a_folder_without_a_name_is_told_of(s3: S3Server) -> None:
    s3.fill("nameless", {"cat/1.png": png(1), "cat//2.png": png(2), "dog/3.png": png(3)})
    source = opened("s3://nameless", **s3.options)

    assert found(source) == [("cat/1.png", "cat"), ("dog/3.png", "dog")]
    assert source.problems.listed == [("s3://nameless/cat//", "a folder without a name")]


def test_a_folder_of_more_than_a_page_is_listed_whole(s3: S3Server) -> None:
    s3.fill("pages", {f"set/{number:04}.png": b"" for number in range(1100)})

    keys = [item.key for item in opened("s3://pages/set", **s3.options).items()]

    assert keys == [f"{number:04}.png" for number in range(1100)]


def test_each_pass_sees_what_is_there_then(s3: S3Server) -> None:
    s3.fill("passes", {"1.png": png(1), "2.png": png(2)})
    source = opened("s3://passes", **s3.options)
    before = by_key(source)

    s3.client.put_object(Bucket="passes", Key="3.png", Body=png(3))
    s3.client.delete_object(Bucket="passes", Key="1.png")

    assert [*by_key(source)] == ["2.png", "3.png"]
    with pytest.raises(ImageUnreadable, match=r"1\.png: FileNotFoundError"):
        before["1.png"].read_bytes()


def test_an_object_that_is_too_large_is_not_fetched_whole(s3: S3Server) -> None:
    s3.fill("large", {"1.png": bytes(3_000_000)})
    with counting(s3) as (url, sizes):
        [item] = opened("s3://large", **{**s3.options, "endpoint_url": url}).items()

        with pytest.raises(ImageUnreadable, match="larger than 1,000 bytes"):
            item.read_bytes(1000)

        assert 1000 < sum(sizes) < 20_000  # with the listings and all headers


# --- who may read it


def test_credentials_and_server_are_found_in_the_environment(
    s3: S3Server, only_named_logins: pytest.MonkeyPatch
) -> None:
    s3.fill("by-environment", {"cat/1.png": png(1), "dog/2.png": png(2)})
    with s3.letting_in_one() as (key, secret):
        for name, value in (s3.environment | {"AWS_ACCESS_KEY_ID": key}).items():
            only_named_logins.setenv(name, value)
        only_named_logins.setenv("AWS_SECRET_ACCESS_KEY", secret)

        source = opened("s3://by-environment", skip_instance_cache=True)

        assert found(source) == [("cat/1.png", "cat"), ("dog/2.png", "dog")]
        assert by_key(source)["dog/2.png"].read_bytes() == png(2)


@pytest.mark.parametrize(
    ("login", "says"),
    [
        ({}, "Unable to locate credentials"),
        ({"key": "nobody", "secret": SECRET}, "does not exist in our records"),
        ({"secret": SECRET}, "signature"),
    ],
)
def test_who_may_not_read_is_told_where_credentials_are_looked_for(
    login: dict[str, str], says: str, s3: S3Server, only_named_logins: pytest.MonkeyPatch
) -> None:
    with s3.letting_in_one() as (key, _secret):
        login = {"key": key, **login} if login else {}

        with pytest.raises(ConfigurationError, match=says) as refused:
            opened("s3://by-environment", endpoint_url=s3.url, **login)

    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://no-such-bucket", "s3://no-such-bucket/photos"])
def test_a_bucket_that_is_not_there_says_which_server_was_asked(url: str, s3: S3Server) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing at that address.*AWS_ENDPOINT_URL"):
        opened(url, **s3.options)


def test_all_buckets_together_are_no_source(s3: S3Server) -> None:
    with pytest.raises(ConfigurationError, match="expected a bucket, such as s3://my-bucket"):
        opened("s3://", **s3.options)


# --- what breaks meanwhile


def test_a_login_that_is_revoked_meanwhile_stops_the_reading(s3: S3Server) -> None:
    s3.fill("revoked", {"1.png": png()})
    [item] = opened("s3://revoked", **s3.options).items()

    with s3.letting_in_one(), pytest.raises(ConfigurationError, match="PermissionError"):
        item.read_bytes()


def test_a_server_that_goes_away_stops_the_reading_instead_of_every_image(s3: S3Server) -> None:
    with running_s3() as other:
        other.fill("gone", {f"{number:02}.png": png(number) for number in range(40)})
        source = opened("s3://gone", **other.options, **PROMPT)
        reading = read_ahead(source.items(), ReadingRules(upload=True, workers=2))
        first, _ = next(reading)

    assert first.key == "00.png"
    with pytest.raises(ConfigurationError, match=r"s3://gone.*Could not connect"):
        list(reading)
    with pytest.raises(ConfigurationError, match=r"s3://gone.*Could not connect"):
        found(source)
