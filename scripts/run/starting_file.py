"""Writes a run's YAML to begin with: what was given, and every other key as a comment.

Knows text and the config's fields. What it writes is what `config_file` reads.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scripts.run.config import OF_THE_RECIPE, RunConfig, SourceOptions
from scripts.run.config_file import KeyPath

WIDTH = 96
HEAD = """\
# A run of Active Labeler:  active-labeler run --config THIS_FILE
#
# Keys behind a # have the value that they would have anyway; take the # away to change one.
# docs/run-config.md lists them all, and docs/run-config.schema.json is for your editor.
"""


def starting_file(given: Mapping[KeyPath, Any]) -> str:
    """Return the text of a file with `given` values; a key is (section, key, ...)."""
    parts = [HEAD]
    for name, each in RunConfig.model_fields.items():
        if not _fields_of(each):
            parts.append("\n" + "".join(_value(name, each, given)))
            continue
        body = "".join(_section(each, (name,), given, indent=2))
        written = any(path[0] == name for path in given)
        opening = f"{name}:\n" if written else f"#{name}:\n"
        parts.append(f"\n{_comment(each.description, 0)}{opening}{body}")
    return "".join(parts)


def _value(name: str, field: FieldInfo, given: Mapping[KeyPath, Any]) -> Iterator[str]:
    """Yield a key of the first level that is no section: a mapping, whose keys may be given."""
    inner = {".".join(path[1:]): value for path, value in given.items() if path[0] == name}
    yield _comment(field.description, 0)
    yield _yaml(name, inner) if inner else _line(_yaml(name, _default(field)).rstrip(), 0)


def values_only(given: Mapping[KeyPath, Any]) -> str:
    """Return the YAML of the given values alone."""
    nested: dict[str, Any] = {}
    for path, value in given.items():
        inner = nested
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = value
    return yaml.safe_dump(nested, sort_keys=False, allow_unicode=True)


def _section(
    section: FieldInfo, path: KeyPath, given: Mapping[KeyPath, Any], indent: int
) -> Iterator[str]:
    fields = _fields_of(section)
    for key, each in fields.items():
        here = (*path, key)
        yield _comment(each.description, indent)
        if here in given:
            yield textwrap.indent(_yaml(key, given[here]), " " * indent)
        elif _fields_of(each):
            inner = "".join(_section(each, here, given, indent + 2))
            written = any(path[: len(here)] == here for path in given)
            yield f"{' ' * indent}{key}:\n" if written else _line(f"{key}:", indent)
            yield inner
        else:
            yield _line(_yaml(key, _default(each)).rstrip(), indent)


def _fields_of(field: FieldInfo) -> Mapping[str, FieldInfo]:
    """Return the keys of a section; none for a value, or for a source, whose options differ."""
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not SourceOptions:
        return kind.model_fields
    return {}


def _default(field: FieldInfo) -> Any:
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    return list(value) if isinstance(value, tuple) else value


def _yaml(key: str, value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump({key: plain}, sort_keys=False, allow_unicode=True)
    return f"{key}:\n" if value is None else str(text)


def _line(text: str, indent: int) -> str:
    """Put a # into the first column, so that taking it away leaves the right indentation."""
    return "".join(f"#{' ' * indent}{line}\n" for line in text.splitlines())


def _comment(text: str | None, indent: int) -> str:
    lines = textwrap.wrap(text, WIDTH - indent) if text and text != OF_THE_RECIPE else []
    return "".join(f"{' ' * indent}# {line}\n" for line in lines)
