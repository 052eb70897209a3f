"""Reads a run's YAML file, and says everything that is wrong with it at once, line by line.

A file is data of somebody else: it is read by the safe loader, up to a size, without anchors (which
can blow up to gigabytes) and without a key written twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ml_backend.errors import ConfigurationError
from scripts.run.config import RunConfig
from scripts.run.names import nearest

MAX_BYTES = 2**16
MAX_DEPTH = 20
KeyPath = tuple[str, ...]


class _PlainLoader(yaml.SafeLoader):
    """The safe loader without anchors, and not deeper than a config can be.

    Refuses while it reads: PyYAML's time grows with the square of the depth.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            what = "anchors (&name, *name) are not read here; write it out, or put quotes around"
            raise _refused_at(event, what)
        if self.depth > MAX_DEPTH:
            what = f"nested more than {MAX_DEPTH} deep"
            raise _refused_at(event, what)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _refused_at(event: yaml.Event, what: str) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=what, problem_mark=mark)


@dataclass(frozen=True)
class Written:
    """What a file says: values, and the line of each key."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)


def read_config(path: Path | None, overrides: Mapping[KeyPath, Any]) -> RunConfig:
    """Read a file, lay `overrides` over it, and check all of it.

    Raises ConfigurationError with a line for each thing that is wrong.
    """
    written = Written() if path is None else parse(path)
    return check(with_overrides(written.values, overrides), written.lines, path)


def parse(path: Path) -> Written:
    """Read a file's YAML. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{path}: larger than {MAX_BYTES:,} bytes, expected a few lines")
    try:
        text = content.decode("utf-8-sig")
        loader = _PlainLoader(text)
        node = loader.get_single_node()
        lines = dict(_lines_of(node, (), path)) if node else {}
        values = loader.construct_document(node) if node else {}
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: expected UTF-8 text: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigurationError(f"{path}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read as YAML: {error}") from None
    if values is not None and not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected sections, such as `data:`")
    return Written(values or {}, lines)


def with_overrides(values: Mapping[str, Any], overrides: Mapping[KeyPath, Any]) -> dict[str, Any]:
    """Return the values with others in the place of some, or beside them."""
    result = dict(values)
    for path, value in overrides.items():
        if len(path) == 1:
            result[path[0]] = value
        else:
            inner = result.get(path[0])
            kept = inner if isinstance(inner, Mapping) else {}
            result[path[0]] = with_overrides(kept, {path[1:]: value})
    return result


def check(values: Mapping[str, Any], lines: Mapping[KeyPath, int], path: Path | None) -> RunConfig:
    """Build the config. Raises ConfigurationError with all that is wrong."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        said = sorted(_problem(each, lines) for each in problems)
        where = f"{path}" if path else "This run"
        text = "\n  ".join(f"line {line}: {what}" if line else what for line, what in said)
        raise ConfigurationError(f"{where}: {len(said)} things to mend:\n  {text}") from None


def known_keys(path: Sequence[str]) -> list[str]:
    """Return the keys of a section, [] where there is no such section."""
    model: Any = RunConfig
    for name in path:
        fields = getattr(model, "model_fields", {})
        model = _model_in(fields[name].annotation) if name in fields else None
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """Find the section in a type such as `SourceOptions | None`."""
    kinds = [annotation, *getattr(annotation, "__args__", ())]
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _problem(problem: ErrorDetails, lines: Mapping[KeyPath, int]) -> tuple[int, str]:
    """Return the line and what is wrong there, by the key that was written."""
    path = tuple(str(part) for part in problem["loc"])
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), 0)
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        where = ".".join(path[:-1]) or "the file"
        return line, f"{where} has no key {nearest(path[-1], known_keys(path[:-1]))}"
    message = re.sub(r"^(Value error, |Input should be )", "", problem["msg"])
    if message != problem["msg"] and problem["type"] != "value_error":
        message = f"expected {message}"
    given = problem.get("input")
    said_already = isinstance(given, str) and repr(given) in message
    shown = f"={given!r}" if isinstance(given, str | int | float) and not said_already else ""
    return line, f"{name}{shown}: {message}"


def _lines_of(node: yaml.Node, path: KeyPath, file: Path) -> Iterator[tuple[KeyPath, int]]:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            key_path = ".".join((*path, name))
            raise ConfigurationError(
                f"{file}, line {line}: {key_path} stands in line {seen[name]} already"
            )
        seen[name] = line
        yield (*path, name), line
        yield from _lines_of(value, (*path, name), file)
