"""Dockerfile and docker-compose.yml, as far as reading them can tell: no engine runs in CI."""

from __future__ import annotations

import ipaddress
import json
import re

import pytest
import yaml

from ml_backend.settings import Settings
from scripts.environments import LABEL_STUDIO_REQUIREMENT
from scripts.local_label_studio import BULK_IMPORT_FLAG
from scripts.settings_page import environment_name
from tests.repo.sources import ROOT

OURS = ("backend", "trainer")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_containers_run_the_label_studio_that_the_tests_run(compose: dict) -> None:
    image = compose["services"]["label-studio"]["image"]
    assert image.split(":")[1] == LABEL_STUDIO_REQUIREMENT.split("==")[1]


def test_every_setting_in_the_containers_is_one_that_exists(compose: dict) -> None:
    known = {environment_name(field) for field in Settings.model_fields.values()}
    given = {name for service in OURS for name in compose["services"][service]["environment"]}
    assert given <= known
    in_image = set(re.findall(r"\b(ACTIVE_LABELER_\w+)=", DOCKERFILE))
    assert in_image <= known


def test_label_studio_reaches_the_backend_but_no_metadata_service(compose: dict) -> None:
    environment = compose["services"]["label-studio"]["environment"]
    assert environment["USE_DEFAULT_BANNED_SUBNETS"] == "false"
    banned = [
        ipaddress.ip_network(subnet)
        for subnet in environment["USER_ADDITIONAL_BANNED_SUBNETS"].split(",")
    ]

    def blocked(address: str) -> bool:
        return any(ipaddress.ip_address(address) in subnet for subnet in banned)

    for docker_address in ("172.18.0.3", "10.0.1.4", "192.168.96.2"):
        assert not blocked(docker_address)
    for metadata in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192"):
        assert blocked(metadata)
    for disguised in ("::ffff:169.254.169.254", "127.0.0.1", "::1", "0.0.0.0"):
        assert blocked(disguised)


def test_label_studio_does_not_make_its_own_secret_key(compose: dict) -> None:
    key = compose["services"]["label-studio"]["environment"]["SECRET_KEY"]
    assert key.startswith("${LABEL_STUDIO_SECRET_KEY:?"), "one in fifty of its own is lost"


def test_hosts_that_get_webhooks_have_a_dot_in_their_names(compose: dict) -> None:
    for service in ("label-studio", "backend"):
        [alias] = compose["services"][service]["networks"]["default"]["aliases"]
        assert "." in alias
    for service in OURS:
        url = compose["services"][service]["environment"]["LABEL_STUDIO_URL"]
        assert url == "http://label-studio.active-labeler.internal:8080"


def test_bulk_import_is_switched_on_by_the_name_that_the_client_looks_for(compose: dict) -> None:
    assert compose["services"]["label-studio"]["environment"][BULK_IMPORT_FLAG] == "true"


def test_every_service_is_checked_and_restarted(compose: dict) -> None:
    assert "HEALTHCHECK" in DOCKERFILE  # the backend's
    for name, service in compose["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service or name == "backend"


def test_one_image_runs_as_nobody_special_and_serves_both_processes(compose: dict) -> None:
    assert re.search(r"^USER labeler$", DOCKERFILE, re.MULTILINE)
    assert DOCKERFILE.index("USER labeler") < DOCKERFILE.index("ENTRYPOINT")
    assert [compose["services"][name]["command"] for name in OURS] == [["serve"], ["train"]]
    for name in OURS:
        assert compose["services"][name]["read_only"] is True
        assert compose["services"][name]["volumes"] == ["active-labeler-data:/data"]
    assert set(compose["volumes"]) == {"label-studio-data", "active-labeler-data"}


def test_the_health_check_is_a_command_that_python_can_read() -> None:
    command = json.loads(re.search(r"HEALTHCHECK[^\[]*(\[.*\])", DOCKERFILE).group(1))
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")


def test_everything_that_the_dockerfile_copies_reaches_the_engine() -> None:
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    }
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    assert copied == allowed
    assert not [name for name in copied if not (ROOT / name).exists()]
