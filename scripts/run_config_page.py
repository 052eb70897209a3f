"""Writes docs/run-config.md and docs/run-config.schema.json from the config of a run.

python -m scripts.run_config_page           write both
python -m scripts.run_config_page --check   1 where one is not current
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ml_backend.settings import Settings
from scripts.run.config import RunConfig
from scripts.run.source_options import KINDS, options_of
from scripts.settings_page import environment_name

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, SCHEMA = DOCS / "run-config.md", DOCS / "run-config.schema.json"
HEAD = """# The file of a run

Written by `python -m scripts.run_config_page` from `scripts/run/config.py`; edit that. How a run
goes: [run.md](run.md). `active-labeler init` writes a file to begin with, and
[run-config.schema.json](run-config.schema.json) lets an editor check it while you type.

A key can also be given as `--set section.key=VALUE`, which wins over the environment, and the
environment (the variable in the last column) over the file. `active-labeler config show` prints
what is in force and where it was said. Relative paths are relative to the file.
"""
COLUMNS = "| key | default | what it is | environment |\n| --- | --- | --- | --- |\n"
SOURCES = """
## The kinds of data.source

Options of each `kind`, the ones that must be given first ([importing.md](importing.md) has them in
words).

| kind | options |
| --- | --- |
"""


def page() -> str:
    """Return the page's text."""
    parts = [HEAD]
    for name, each in RunConfig.model_fields.items():
        parts.append(f"\n## {name}\n\n{each.description}\n\n")
        rows = "".join(_rows(each, (name,)))
        if rows:
            parts.append(
                "| key | default | what it is | environment |\n| --- | --- | --- | --- |\n"
            )
        parts.append(rows)
    return "".join(parts) + SOURCES + "".join(_kind(kind) for kind in KINDS)


def schema() -> str:
    """Return the JSON Schema's text."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**described, **RunConfig.model_json_schema()}, indent=1) + "\n"


def keys() -> dict[str, FieldInfo]:
    """Return every key of the file with dots, such as labeling.target.labels."""
    found: dict[str, FieldInfo] = {}
    for name, each in RunConfig.model_fields.items():
        found[name] = each
        found.update({".".join(path): field for path, field in _leaves(each, (name,))})
    return found


def _leaves(section: FieldInfo, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    kind = section.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for key, each in kind.model_fields.items():
            yield (*path, key), each
            yield from _leaves(each, (*path, key))


def _rows(section: FieldInfo, top: tuple[str, ...]) -> Iterator[str]:
    for path, each in _leaves(section, top):
        text = (each.description or "").replace("|", "\\|")
        yield f"| `{'.'.join(path[1:])}` | {_default(each)} | {text} | {_variable(each)} |\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    return f"`{json.dumps(value)}`" if value not in (None, "", {}, ()) else ""


def _variable(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or "setting" not in extra:
        return ""
    return f"`{environment_name(Settings.model_fields[str(extra['setting'])])}`"


def _kind(kind: str) -> str:
    options = options_of(kind)
    if options is None:
        return f"| `{kind}` | `project`, `url`, `control` |\n"
    required = [o.name for o in options.values() if o.default is inspect.Parameter.empty]
    others = [name for name in options if name not in required]
    shown = [f"**`{name}`**" for name in required] + [f"`{name}`" for name in others]
    return f"| `{kind}` | {', '.join(shown)} |\n"


def main(arguments: list[str]) -> int:
    """Write or check both files."""
    wanted = {PAGE: page(), SCHEMA: schema()}
    if arguments == ["--check"]:
        stale = [each.name for each, text in wanted.items() if _text(each) != text]
        print(f"not current: {', '.join(stale)}" if stale else "docs of the run are current")
        return int(bool(stale))
    for each, text in wanted.items():
        each.write_text(text, "utf-8")
    return 0


def _text(file: Path) -> str:
    return file.read_text("utf-8") if file.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
