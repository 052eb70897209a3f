"""An S3 server on loopback, which is moto's, for tests of buckets.

Where its libraries are not installed the tests that need it are skipped; in CI they fail.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from uuid import uuid4

import httpx
import pytest

ACCOUNT = "123456789012"  # of everybody who comes, as moto says
KEY, SECRET, REGION = "a-key-of-tests", "a-secret-of-tests", "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """A running server, with what it takes to fill its buckets. It lets everybody in."""

    url: str
    client: Any  # boto3's

    @property
    def options(self) -> dict[str, Any]:
        """What `storage_options` takes."""
        return {"key": KEY, "secret": SECRET, "endpoint_url": self.url}

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which every S3 library finds it, and no login of this machine."""
        named = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        return {**without_logins(), **named, "AWS_ENDPOINT_URL": self.url}

    def fill(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Make a bucket of these objects."""
        self.client.create_bucket(Bucket=bucket)
        # Not by HTTP: thousands would take long.
        behind = _library("moto.s3.models").s3_backends[ACCOUNT]["aws"]
        for key, body in objects.items():
            behind.put_object(bucket, key, body)

    @contextmanager
    def letting_in_one(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the secret of the only user that may read meanwhile."""
        iam, name = _client("iam", self.url), uuid4().hex
        policy = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        iam.create_user(UserName=name)
        iam.put_user_policy(
            UserName=name,
            PolicyName="reads",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [policy]}),
        )
        made = iam.create_access_key(UserName=name)["AccessKey"]
        self._look_at_logins_after("0")
        try:
            yield made["AccessKeyId"], made["SecretAccessKey"]
        finally:
            self._look_at_logins_after("inf")

    def _look_at_logins_after(self, requests: str) -> None:
        httpx.post(f"{self.url}/moto-api/reset-auth", content=requests).raise_for_status()


def without_logins() -> dict[str, str]:
    """Variables by which no S3 library finds credentials of this machine."""
    return {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """A server that nobody else uses."""
    for name in ("s3fs", "boto3", "flask_cors"):
        _library(name)
    server = _library("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        yield S3Server(url, _client("s3", url))
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A server for the whole run of the tests; each test has buckets of its own."""
    with running_s3() as server:
        yield server


def _library(name: str) -> Any:
    if os.environ.get("CI"):
        return import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed: scripts/setup --dev")


def _client(service: str, url: str) -> Any:
    return _library("boto3").client(
        service,
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name=REGION,
    )
