# ruff: noqa: ARG002 (arguments that httpcore's interface has and the deadline replaces)
"""Download bytes within a deadline, from an address that was checked before it is connected to.

httpcore is used directly, because checking the address and enforcing the deadline both belong at
the socket: a name may resolve to something else the second time it is asked, and a server that
sends a byte now and then never runs into a timeout for reading.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from ml_backend.errors import ImageUnreadable
from ml_backend.labelstudio.addresses import Resolver, checked_addresses, resolve

MAX_CONNECTIONS = 32
ADDRESSES_TRIED = 3


@dataclass(frozen=True, slots=True)
class Download:
    """What a server answered: `body` is empty unless the status is 200."""

    status: int
    location: str
    body: bytes


class ConnectionLost(ImageUnreadable):
    """The host did not take the connection, or broke it off."""


class Deadline:
    """The moment by which the download of this thread must be over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of_thread = threading.local()

    def start(self, seconds: float) -> None:
        self._of_thread.end = self._clock() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises httpcore.ReadTimeout when there are none."""
        left = float(self._of_thread.end - self._clock())
        if left <= 0:
            raise httpcore.ReadTimeout("the time for this image is used up")
        return left


class Fetcher:
    """Downloads over shared connections; threads may share it.

    `trusted` are (host, port) whose address is not checked: Label Studio's own. A private address
    of any other host is refused unless `private_addresses`.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        timeout_s: float,
        private_addresses: bool,
        trusted: Iterable[tuple[str, int]],
        clock: Callable[[], float] = time.monotonic,
        resolver: Resolver = resolve,
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._deadline = Deadline(clock)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=15.0,
            network_backend=_CheckedNetwork(
                frozenset(trusted), private_addresses, resolver, self._deadline
            ),
        )

    def begin(self) -> None:
        """Start the clock of the image that this thread is about to fetch, redirects included."""
        self._deadline.start(self._timeout_s)

    def get(self, url: httpx.URL, headers: Mapping[str, str]) -> Download:
        """Download one address.

        Raises ImageUnreadable with a reason for people, ConnectionLost where it lies in the host.
        """
        try:
            return self._get(url, headers)
        except httpcore.TimeoutException:
            raise ImageUnreadable(
                f"the image did not arrive within {self._timeout_s:g} s"
            ) from None
        except httpcore.LocalProtocolError as error:
            raise ImageUnreadable(f"{url.host} cannot be asked for that: {error}") from None
        except (httpcore.NetworkError, httpcore.RemoteProtocolError, ssl.SSLError) as error:
            reason = str(error) or type(error).__name__
            raise ConnectionLost(f"{url.host} could not be read: {reason}") from None

    def _get(self, url: httpx.URL, headers: Mapping[str, str]) -> Download:
        sent = {"Host": url.netloc.decode(), "Accept-Encoding": "identity", **headers}
        # From its parts: two parsers that read one address differently are a way round the checks.
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        left = self._deadline.left()
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), left)}
        with self._pool.stream(
            "GET", target, headers=list(sent.items()), extensions=limits
        ) as answer:
            found = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
            location = found.get(b"location", "")
            if answer.status != 200:
                return Download(answer.status, location, b"")
            if found.get(b"content-encoding", "identity") != "identity":
                raise ImageUnreadable("the server sent it compressed, which was not asked for")
            return Download(200, location, self._body(answer, found.get(b"content-length", "")))

    def _body(self, answer: httpcore.Response, announced: str) -> bytes:
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        total = 0
        for part in answer.iter_stream():
            total += len(part)
            if total > self._max_bytes:
                raise self._too_large()
            parts.append(part)
        return b"".join(parts)

    def _too_large(self) -> ImageUnreadable:
        return ImageUnreadable(f"the file is larger than {self._max_bytes:,} bytes")


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connects only to addresses that pass, and to exactly those."""

    def __init__(
        self,
        trusted: frozenset[tuple[str, int]],
        private_addresses: bool,
        resolver: Resolver,
        deadline: Deadline,
    ) -> None:
        self._trusted = trusted
        self._private_addresses = private_addresses
        self._resolver = resolver
        self._deadline = deadline
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        if self._private_addresses or (host, port) in self._trusted:
            stream = self._network.connect_tcp(host, port, self._deadline.left())
            return _TimedStream(stream, self._deadline)
        addresses = checked_addresses(host, port, self._resolver)[:ADDRESSES_TRIED]
        for address in addresses[:-1]:
            try:
                return self._connect(address, port)
            except httpcore.ConnectError:
                continue
        return self._connect(addresses[-1], port)

    def _connect(self, address: str, port: int) -> httpcore.NetworkStream:
        stream = self._network.connect_tcp(address, port, self._deadline.left())
        return _TimedStream(stream, self._deadline)


class _TimedStream(httpcore.NetworkStream):
    """A connection on which each step takes at most what is left of the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _TimedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
