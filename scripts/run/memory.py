"""What a run remembers beside its store: ports, logins, its project, how long it has been open."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.private_file import write_private_json

USERNAME = "admin@example.org"
ANNOTATOR = "annotator@example.org"
FILE = "run.json"


def _password() -> str:
    return secrets.token_urlsafe(9)


@dataclass
class RunMemory:
    """Each field is filled when its step has succeeded; empty or 0 means it is still to be done."""

    label_studio_port: int = 0
    backend_port: int = 0
    password: str = field(default_factory=_password, repr=False)
    annotator_password: str = field(default_factory=_password, repr=False)
    annotator_made: bool = False
    access_token: str = field(default="", repr=False)
    project_id: int = 0
    backbone: str = ""
    open_s: float = 0.0  # over all starts


def recall(folder: Path) -> RunMemory:
    """Read the memory of an earlier start, or begin a new one."""
    file = folder / FILE
    return RunMemory(**json.loads(file.read_text())) if file.exists() else RunMemory()


def remember(folder: Path, memory: RunMemory) -> None:
    """Keep the memory for the next start."""
    write_private_json(folder / FILE, asdict(memory))
