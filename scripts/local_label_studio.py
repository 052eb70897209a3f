"""Start and stop a Label Studio of one's own on SQLite, for runs and the tests.

Knows how a Label Studio process is run. Knows nothing of this project's backend.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

EXECUTABLE_VARIABLE = "LABEL_STUDIO_EXECUTABLE"
OWN_VENV = ".venv-label-studio"
BULK_IMPORT_FLAG = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short"
LOG_NAME = "label-studio.log"

MIGRATE_TIMEOUT_S = 600.0
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0


class LabelStudioNotInstalled(Exception):
    """No Label Studio executable was found; says where it was looked for."""


class LabelStudioDidNotStart(Exception):
    """The server did not answer in time or ended; carries the end of its log."""


def find_label_studio() -> Path:
    """Return the `label-studio` executable: by environment, in the repository's venv, on PATH."""
    repository = Path(__file__).resolve().parents[1]
    named = os.environ.get(EXECUTABLE_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise LabelStudioNotInstalled(f"{EXECUTABLE_VARIABLE}={named!r}: there is no such file")
        return Path(named)
    own = repository / OWN_VENV / "bin" / "label-studio"
    if own.is_file():
        return own
    on_path = shutil.which("label-studio")
    if on_path:
        return Path(on_path)
    raise LabelStudioNotInstalled(
        f"Label Studio was looked for in ${EXECUTABLE_VARIABLE}, in {own} and on PATH. "
        "Install it with: uv venv .venv-label-studio && "
        "uv pip install -p .venv-label-studio label-studio==1.23.2"
    )


def free_port() -> int:
    """Return a TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class LocalLabelStudio:
    """One Label Studio process on 127.0.0.1 with its own data folder.

    `legacy_tokens` matters on the first start only, when the organization is made. `environment`
    is laid over everything else; `lock` is a descriptor that the server holds while it lives.
    Nothing of the caller's environment but PATH, HOME and the like reaches the server: it reads
    common names such as PORT, HOST and LOG_LEVEL.
    """

    executable: Path
    data_dir: Path
    port: int
    username: str = "admin@example.org"
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    legacy_tokens: bool = True
    bulk_import: bool = False
    document_root: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    lock: int | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.data_dir / LOG_NAME

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(
        self, timeout_s: float = START_TIMEOUT_S, on_start: Callable[[int], object] = str
    ) -> None:
        """Start the server and return when it answers; `on_start` gets its process at once.

        Raises LabelStudioDidNotStart with the end of the log. A new data folder is filled from
        an already migrated one, which is made once for each installation (about a minute).
        """
        if self.running:
            return
        # Label Studio would silently move to another port.
        if _listens(self.port):
            raise LabelStudioDidNotStart(f"port {self.port} is taken by another program")
        if not (self.data_dir / "label_studio.sqlite3").exists():
            copy_template(migrated_template(self.executable), self.data_dir)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (the executable is the caller's choice)
                self._command(),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if self.lock is None else (self.lock,),
            )
        on_start(self._process.pid)
        self._wait_until_it_answers(timeout_s)

    def stop(self) -> None:
        """End the server; kill it where it does not end by itself."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the server's log."""
        if not self.log_file.exists():
            return "(no log)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def _command(self) -> list[str]:
        words = f"start --no-browser --internal-host 127.0.0.1 --port {self.port} --username"
        return [str(self.executable), *words.split(), self.username]

    def _environment(self) -> dict[str, str]:
        ours = {
            # By environment, not by argument: arguments can be read by every user of the machine.
            "LABEL_STUDIO_PASSWORD": self.password,
            "LABEL_STUDIO_USER_TOKEN": self.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true" if self.legacy_tokens else "false",
            f"LABEL_STUDIO_{BULK_IMPORT_FLAG}": "true" if self.bulk_import else "false",
            "LABEL_STUDIO_HOST": self.url,
        }
        if self.document_root is not None:
            ours["LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"] = "true"
            ours["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = str(self.document_root)
        return {**_base_environment(self.data_dir), **ours, **self.environment}

    def _wait_until_it_answers(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                raise LabelStudioDidNotStart(f"it ended while starting:\n{self.log_tail()}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            time.sleep(0.2)
        self.kill()
        raise LabelStudioDidNotStart(f"no answer within {timeout_s:.0f} s:\n{self.log_tail()}")

    def _end(self, first: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, first)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_TIMEOUT_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _base_environment(data_dir: Path) -> dict[str, str]:
    inherited = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
    return {
        **{name: os.environ[name] for name in inherited if name in os.environ},
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        # Lets Label Studio reach a backend on a private address, while the metadata services of
        # clouds stay blocked. Switching both protections off would open those too.
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "USER_ADDITIONAL_BANNED_SUBNETS": "169.254.0.0/16",
    }


def migrated_template(executable: Path) -> Path:
    """Return a migrated data folder without accounts, made once for each installation."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "active-labeler"
    resolved = executable.resolve()
    identity = f"{resolved}:{resolved.stat().st_mtime_ns}".encode()
    template = cache / f"label-studio-{hashlib.sha256(identity).hexdigest()[:16]}"
    if template.is_dir():
        return template
    cache.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f"{template.name}.", dir=cache))
    _migrate(executable, building)
    try:
        building.rename(template)
    except OSError:  # somebody else was faster, and theirs is as good
        shutil.rmtree(building)
    return template


def _migrate(executable: Path, data_dir: Path) -> None:
    # The `version` command migrates the database, prints the version and ends.
    finished = subprocess.run(  # noqa: S603 (the executable is the caller's choice)
        [str(executable), "version"],
        env=_base_environment(data_dir),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=MIGRATE_TIMEOUT_S,
        check=False,
    )
    if finished.returncode != 0 or not (data_dir / "label_studio.sqlite3").exists():
        tail = "\n".join((finished.stdout + finished.stderr).splitlines()[-30:])
        raise LabelStudioDidNotStart(f"the database could not be prepared:\n{tail}")


def copy_template(template: Path, data_dir: Path) -> None:
    """Copy a migrated data folder, with a secret key of its own.

    One in fifty of Label Studio's own keys begins with "$", which django-environ reads back as the
    name of a variable: the next start makes a new key, and no token survives it.
    """
    shutil.copytree(template, data_dir, ignore=shutil.ignore_patterns(".env"), dirs_exist_ok=True)
    descriptor = os.open(data_dir / ".env", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(f"SECRET_KEY={secrets.token_hex(32)}\n")
