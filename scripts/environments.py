"""Makes the two virtual environments, and nothing when nothing changed.

Runs before anything is installed, so it imports the standard library alone. Label Studio gets an
environment of its own: it pins its dependencies (the SDK exactly), and it is a server beside us,
not a library of ours.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / ".venv"
LABEL_STUDIO = ROOT / ".venv-label-studio"
LABEL_STUDIO_REQUIREMENT = "label-studio==1.23.2"  # the version whose behaviour the queue relies on
UV_REQUIREMENT = "uv>=0.4,<1"
STAMP = ".set-up"  # holds the digest of what an environment was made from
NEEDED_BYTES = 12 * 10**9  # torch with CUDA is about 5 GB unpacked, and its wheels lie in a cache
LABEL_STUDIO_NEEDED_BYTES = 10**9


class SetupError(Exception):
    """What is missing, and what to do about it."""


def main(arguments: list[str] | None = None) -> int:
    """Make what is asked for; 0, or 1 with a sentence on standard error."""
    asked = _parser().parse_args(arguments)
    try:
        with _one_at_a_time():
            ensure_own(dev=asked.dev)
            if not asked.no_label_studio:
                ensure_label_studio()
    except SetupError as error:
        print(f"scripts/setup: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/setup", description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what the tests need")
    parser.add_argument(
        "--no-label-studio", action="store_true", help="Label Studio runs elsewhere: only .venv"
    )
    return parser


def ensure_own(*, dev: bool) -> None:
    """Install this project into .venv; an environment with the dev extra also serves without."""
    wanted = own_digest(dev=True) if dev else own_digest(dev=False)
    if _stamp(OWN) in {wanted, own_digest(dev=True)}:
        return
    _make(OWN, NEEDED_BYTES)
    _install(OWN, "--editable", f"{ROOT}[dev]" if dev else str(ROOT))
    _write_stamp(OWN, wanted)


def ensure_label_studio() -> None:
    """Install Label Studio into .venv-label-studio, unless one is named in the environment."""
    if os.environ.get("LABEL_STUDIO_EXECUTABLE"):
        return
    wanted = _digest(LABEL_STUDIO_REQUIREMENT)
    if _stamp(LABEL_STUDIO) == wanted:
        return
    _make(LABEL_STUDIO, LABEL_STUDIO_NEEDED_BYTES)
    _install(LABEL_STUDIO, LABEL_STUDIO_REQUIREMENT)
    _write_stamp(LABEL_STUDIO, wanted)


def own_digest(*, dev: bool) -> str:
    """Name what .venv is made from: the requirements, the packaging and the extra."""
    sources = [(ROOT / name).read_text() for name in ("pyproject.toml", "requirements.txt")]
    return _digest(*sources, f"dev={dev}")


def _digest(*parts: str) -> str:
    # An environment knows its own path, so a clone that was moved is made anew.
    return hashlib.sha256("\0".join((str(ROOT), *parts)).encode()).hexdigest()


def _stamp(environment: Path) -> str:
    """Read what an environment was made from; "" where it is missing or cannot start."""
    stamp = environment / STAMP
    return stamp.read_text() if stamp.is_file() and _python(environment).exists() else ""


def _write_stamp(environment: Path, digest: str) -> None:
    (environment / STAMP).write_text(digest)


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _make(environment: Path, needed_bytes: int) -> None:
    """Create the environment's folder with uv in it, over whatever an interrupted try has left."""
    _check_machine(needed_bytes)
    (environment / STAMP).unlink(missing_ok=True)
    print(f"Setting up {environment.name} (Python {sys.version.split()[0]}) ...", flush=True)
    arguments = [] if _starts(_python(environment)) else ["--clear"]
    _run([sys.executable, "-m", "venv", *arguments, str(environment)], "make the environment")
    pip = [str(_python(environment)), "-m", "pip", "install", "--quiet", UV_REQUIREMENT]
    _run([*pip, "--disable-pip-version-check"], "install uv from the package index")


def _starts(python: Path) -> bool:
    """Whether this environment's Python runs, has pip, and is new enough."""
    program = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    try:
        command = [str(python), "-c", program]
        ended = subprocess.run(command, capture_output=True, timeout=60)  # noqa: S603 (ours)
    except OSError:
        return False
    return ended.returncode == 0


def _check_machine(needed_bytes: int) -> None:
    if missing := [name for name in ("venv", "ensurepip") if not importlib.util.find_spec(name)]:
        raise SetupError(
            f"{sys.executable} has no {' and no '.join(missing)} module. On Debian and Ubuntu: "
            f"apt-get install python{sys.version_info.major}.{sys.version_info.minor}-venv"
        )
    free = shutil.disk_usage(ROOT).free
    if free < needed_bytes and not os.environ.get("ACTIVE_LABELER_SKIP_DISK_CHECK"):
        raise SetupError(
            f"{free / 1e9:.1f} GB are free under {ROOT}, and {needed_bytes / 1e9:.0f} GB are "
            "needed. Free some, or set ACTIVE_LABELER_SKIP_DISK_CHECK=1 to try all the same."
        )


def _install(environment: Path, *requirements: str) -> None:
    uv = [str(environment / "bin" / "uv"), "pip", "install", "--python", str(environment)]
    if not sys.stderr.isatty():
        uv.append("--quiet")  # nobody watches the progress bars, and a log needs no 140 names
    started = time.monotonic()
    _run([*uv, *requirements], "install the packages")
    print(f"{environment.name} is ready after {time.monotonic() - started:.0f} s.", flush=True)


def _run(command: list[str], purpose: str) -> None:
    ended = subprocess.run(command, cwd=ROOT)  # noqa: S603 (a list of our own making)
    if ended.returncode != 0:
        raise SetupError(
            f"could not {purpose} (exit code {ended.returncode}; the messages are above). Without "
            "a network or behind a proxy, name a package index that can be reached: PIP_INDEX_URL "
            "and UV_INDEX_URL. What was done so far is kept; run the same command again."
        )


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let a second scripts/setup in the same clone wait for the first."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
