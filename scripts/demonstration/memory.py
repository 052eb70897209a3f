"""What the demo remembers between two starts, in `.demo/demo.json`: ports, logins, the project."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.private_file import write_private_json

USERNAME = "demo@example.org"
ANNOTATOR = "annotator@example.org"


def _password() -> str:
    return secrets.token_urlsafe(9)


@dataclass
class Memory:
    """Each field is filled when its step has succeeded; empty or 0 means it is still to be done."""

    label_studio_port: int = 8080
    backend_port: int = 9090
    password: str = field(default_factory=_password, repr=False)
    annotator_password: str = field(default_factory=_password, repr=False)
    annotator_made: bool = False
    access_token: str = field(default="", repr=False)
    images: str = ""  # the folder that the project was made from
    backbone: str = ""
    project_id: int = 0
    uploaded: bool = False
    served: list[int] = field(default_factory=list)  # places in the pool that the oracle labeled


def recall(folder: Path) -> Memory:
    """Read the memory of an earlier start, or begin a new one."""
    file = folder / "demo.json"
    return Memory(**json.loads(file.read_text())) if file.exists() else Memory()


def remember(folder: Path, memory: Memory) -> None:
    """Write the memory in one step, readable by its owner alone: it holds logins."""
    write_private_json(folder / "demo.json", asdict(memory))
