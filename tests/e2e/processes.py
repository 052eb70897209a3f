"""The backend's two processes as a person would start them, and its command line as a person types
it. Each is a real process that can be killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "scripts.active_labeler")
STOP_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Answer:
    """What a command said: its exit code and both its streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def base_environment(**settings: object) -> dict[str, str]:
    """Return an environment with these settings and nothing else that this project reads."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "TORCH_HOME")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    named = {name: str(value) for name, value in settings.items()}
    return {**inherited, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **named}


def run_command(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> Answer:
    """Run `active-labeler ARGUMENTS` to its end."""
    ended = subprocess.run(
        [*COMMAND, *arguments],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    return Answer(ended.returncode, ended.stdout, ended.stderr)


@dataclass
class Daemon:
    """`active-labeler serve` or `active-labeler train`, with a log of all its lives."""

    verb: str
    environment: dict[str, str]
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.verb}.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns at once."""
        assert not self.running, f"{self.verb} is running already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, self.verb],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it as an init system would; fails where it does not end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would, with whatever it has started."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_TIMEOUT_S)
            raise


def set_file_size_limit(pid: int, soft: int, hard: int = resource.RLIM_INFINITY) -> tuple[int, int]:
    """Limit how large the files of a process may become, in bytes; return the limits before."""
    return resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
