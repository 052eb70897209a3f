"""A JSON file that its owner alone can read, written in one step: it may hold logins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_private_json(file: Path, content: dict[str, Any]) -> None:
    """Write `content` in the place of the file."""
    written = file.with_name(file.name + ".new")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump(content, out, indent=1)
    written.replace(file)
