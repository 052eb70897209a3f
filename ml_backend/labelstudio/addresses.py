"""Which hosts and addresses images may be fetched from. Opens no connection."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

from ml_backend.errors import ImageUnreadable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Resolver = Callable[[str, int], list[str]]  # (host, port) → addresses


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order in which the system would try them.

    Raises OSError where the name is not known.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def host_allowed(host: str, allowed: Iterable[str]) -> bool:
    """Say whether a host is on the list: by its name, or under `*.name`. An empty list is open."""
    patterns = [pattern.lower() for pattern in allowed]
    name = host.lower().rstrip(".")
    return not patterns or any(
        name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
        for pattern in patterns
    )


def is_public(address: str) -> bool:
    """Say whether an address belongs to the open internet.

    Addresses that carry an IPv4 address inside (mapped, NAT64, Teredo) are judged by that one as
    well, since a gateway may turn them into it. 6to4 is no part of it (RFC 7526).
    """
    try:
        parsed = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    return all(_is_global(each) for each in (parsed, *_inside(parsed)))


def _is_global(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        reserved = address.is_reserved and address not in NAT64
        if reserved or address.is_site_local or address.sixtofour:
            return False
    return address.is_global and not address.is_multicast


def _inside(address: Address) -> list[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    carried = [address.ipv4_mapped, *(address.teredo or ())]
    if address in NAT64:
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in carried if each is not None]


def checked_addresses(host: str, port: int, resolver: Resolver) -> list[str]:
    """Resolve a host and return its addresses, all of which are public.

    Raises ImageUnreadable where one is not: a name that has both is how filters are got round.
    """
    try:
        addresses = resolver(host, port)
    except OSError:
        raise ImageUnreadable(f"the host name {host} cannot be resolved") from None
    blocked = [address for address in addresses if not is_public(address)]
    if blocked or not addresses:
        raise ImageUnreadable(
            f"{host} is at the private address {', '.join(blocked)}; "
            "ACTIVE_LABELER_IMAGE_PRIVATE_ADDRESSES=true would allow that"
        )
    return addresses
