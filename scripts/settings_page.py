"""Writes docs/settings.md from the fields of `ml_backend.settings.Settings`.

python -m scripts.settings_page           write the page
python -m scripts.settings_page --check   1 where the page is not current
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from ml_backend.settings import CONFIG_FILE_VARIABLE, DEFAULT_CONFIG_FILE, Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = f"""# Settings

Written by `python -m scripts.settings_page` from `ml_backend/settings.py`, `round_settings.py` and
`network_settings.py`; edit those.

A command's flag wins over the environment, the environment over the YAML file (named by
`{CONFIG_FILE_VARIABLE}`; `{DEFAULT_CONFIG_FILE}` in the current folder where it exists), and the
file over the default. What cannot be used is refused when a command starts, with the setting's
name. Unknown names in the file are refused too.

| environment | in the file | default | what it is |
| --- | --- | --- | --- |
"""


def page() -> str:
    """Return the page's text, one row a setting."""
    own = [name for name in Settings.model_fields if name in Settings.__annotations__]
    inherited = [name for name in Settings.model_fields if name not in own]  # networks come last
    return HEAD + "".join(_row(name, Settings.model_fields[name]) for name in own + inherited)


def environment_name(field: FieldInfo) -> str:
    """Return the name of the environment variable that sets a field."""
    if not isinstance(field.validation_alias, AliasChoices):
        raise TypeError(f"{field!r}: expected an alias made by _known_as()")
    return str(field.validation_alias.choices[0])


def _row(name: str, field: FieldInfo) -> str:
    text = (field.description or "").replace("|", "\\|")
    return f"| `{environment_name(field)}` | `{name}` | {_default(field.default)} | {text} |\n"


def _default(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return f"`{value}`" if value not in ("", (), None) else ""


def main(arguments: list[str]) -> int:
    """Write or check the page."""
    if arguments == ["--check"]:
        current = PAGE.exists() and PAGE.read_text() == page()
        print("docs/settings.md is current" if current else "docs/settings.md is not current")
        return 0 if current else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
