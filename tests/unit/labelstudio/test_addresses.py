"""Which addresses count as the open internet."""

import pytest

from ml_backend.errors import ImageUnreadable
from ml_backend.labelstudio.addresses import checked_addresses, host_allowed, is_public


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_pass(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "2002:808:808::1",
        "no address",
        "",
    ],
)
def test_private_ones_do_not_in_whatever_form(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    ("host", "allowed", "answer"),
    [
        ("a.org", [], True),
        ("a.org", ["a.org"], True),
        ("A.ORG.", ["a.org"], True),
        ("b.a.org", ["a.org"], False),
        ("b.a.org", ["*.a.org"], True),
        ("a.org", ["*.a.org"], False),
        ("evil-a.org", ["*.a.org", "a.org"], False),
        ("a.org.evil.net", ["*.a.org", "a.org"], False),
    ],
)
def test_the_list_of_hosts(host, allowed, answer):
    assert host_allowed(host, allowed) is answer


def test_a_host_with_one_private_address_is_refused():
    with pytest.raises(ImageUnreadable, match=r"private address 10\.0\.0\.1"):
        checked_addresses("a.org", 80, lambda _host, _port: ["8.8.8.8", "10.0.0.1"])


def test_a_name_that_is_not_known_is_said():
    def unknown(_host: str, _port: int) -> list[str]:
        raise OSError

    with pytest.raises(ImageUnreadable, match=r"a\.org cannot be resolved"):
        checked_addresses("a.org", 80, unknown)
