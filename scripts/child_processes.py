"""The backend and the trainer as child processes: started, watched, and ended with their parent.

Knows processes, ports and the lock of a folder; nothing of what the processes do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
import httpx

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
COMMAND = Path(sys.executable).with_name("active-labeler")


@dataclass(frozen=True, slots=True)
class Child:
    """A running command and the file that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def ended(self) -> bool:
        return self.process.poll() is not None

    def failure(self) -> click.ClickException:
        """Say how it ended, with the end of its log."""
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        code = self.process.poll()
        return click.ClickException(f"{self.name} ended with code {code}. {self.log}:\n{tail}")


@contextmanager
def running(
    name: str,
    arguments: list[str],
    folder: Path,
    environment: Mapping[str, str],
    lock: int,
    on_start: Callable[[int], object] = str,
    descriptors: Sequence[int] = (),
) -> Iterator[Child]:
    """Run `active-labeler ARGUMENTS` in `folder` while the block runs, then end it.

    In a process group of its own, so that Ctrl-C reaches the parent alone, which decides the order
    in which things end. The child holds the descriptor `lock` for as long as it lives, and inherits
    `descriptors` under the same numbers; `on_start` gets its process at once.
    """
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 (a list of our own making)
            [str(COMMAND), *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock, *descriptors),
        )
    on_start(process.pid)
    os.write(lock, f"{process.pid}\n".encode())
    try:
        yield Child(name, process, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)


def wait_until_it_answers(child: Child, url: str) -> None:
    """Return when `url` answers 2xx. Raises click.ClickException where it ends or is late."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.ended():
            raise child.failure()
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).is_success:
                return
        time.sleep(0.1)
    raise click.ClickException(f"{child.name} did not answer {url} within {START_TIMEOUT_S:.0f} s")


def usable_port(wanted: int) -> int:
    """Return `wanted`, or the next port that nobody listens on."""
    for port in range(wanted, wanted + 100):
        if _is_free(port):
            return port
    raise click.ClickException(f"no free port from {wanted} to {wanted + 99}")


def listen(host: str, wanted: int) -> socket.socket:
    """Listen on `wanted`, or on the next port that nobody listens on; nobody else can take it then.

    Raises click.ClickException where none can be had.
    """
    for port in range(wanted, min(wanted + 100, 2**16)):
        try:
            return socket.create_server((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise click.ClickException(f"cannot listen on {host}:{port}: {error}") from None
    raise click.ClickException(f"no free port from {wanted} to {wanted + 99}")


def require_port(port: int) -> None:
    """Wait a little until nobody listens on a port. Raises click.ClickException."""
    end = time.monotonic() + STOP_TIMEOUT_S
    while not _is_free(port):
        if time.monotonic() > end:
            raise click.ClickException(
                f"port {port}, on which this was begun, is taken by another program: end that one"
            )
        time.sleep(0.2)


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


@contextmanager
def one_at_a_time(folder: Path, *, wait_s: float = 0.0) -> Iterator[int]:
    """Hold the folder's lock; two on one database would harm each other.

    Child processes inherit the descriptor that this yields, so that what a killed parent left
    running is noticed too: waited for `wait_s` seconds, which is said, then refused with
    click.ClickException. The file names the processes.
    """
    with (folder / "lock").open("a+") as lock:
        if not _locked(lock.fileno()):
            _wait_for_lock(lock.fileno(), folder, wait_s)
        lock.truncate(0)
        yield lock.fileno()


def _wait_for_lock(descriptor: int, folder: Path, wait_s: float) -> None:
    if wait_s:
        click.echo(f"Another one is in {folder}. Up to {wait_s:g} s for it to end ...", err=True)
    end = time.monotonic() + wait_s
    while not _locked(descriptor):
        if time.monotonic() >= end:
            left = " ".join((folder / "lock").read_text().split())
            raise click.ClickException(
                f"another one runs in {folder}, or the servers of one that was killed. Stop it "
                f"with Ctrl-C there, or end them with: kill {left}; or take --folder"
            )
        time.sleep(0.2)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """End in order when asked to end: a parent that just died would leave its servers behind."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
