"""What a run's file comes to: the backend's settings, and where each value was said.

A command's flag wins over the environment, the environment over the file, the file over the
default. Knows names and precedence; starts nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from ml_backend.errors import ConfigurationError
from ml_backend.settings import (
    CONFIG_FILE_VARIABLE,
    DEFAULT_CONFIG_FILE,
    Settings,
    load_settings,
)
from ml_backend.steps.workbench import plan_of
from ml_backend.wiring.fine_tunes import recipe_of
from scripts.run.config import INITIAL, LOCAL, RunConfig
from scripts.run.config_file import KeyPath
from scripts.settings_page import environment_name

FLAG, ENVIRONMENT, FILE, DEFAULT = "flag", "environment", "file", "default"
_SECRET_NAMES = re.compile(r"key|token|secret|pass|credential", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
PATHS_OF_SOURCES = ("path", "root", "data_dir")


@dataclass(frozen=True)
class Run:
    """A checked config, the file that it came from, and the folder that keeps the run's state."""

    config: RunConfig
    file: Path | None
    folder: Path
    base: Path  # what relative paths in the file are relative to
    flags: frozenset[KeyPath] = field(default_factory=frozenset)

    def source_spec(self, section: str = "source") -> dict[str, Any] | None:
        """Return what `open_source` takes, with paths made absolute."""
        options = getattr(self.config.data, section)
        if options is None:
            return None
        spec: dict[str, Any] = options.spec()
        for name in PATHS_OF_SOURCES:
            if isinstance(spec.get(name), str):
                spec[name] = str(self.base / Path(spec[name]).expanduser())
        return spec

    @property
    def export_folder(self) -> Path:
        """Where the labels go in the end."""
        return self.folder / self.config.export.folder


def settings_of(run: Run, **own: Any) -> Settings:
    """Return the backend's settings of a run; `own` are those that the run decides.

    Raises ConfigurationError, naming the key, where the backend refuses one.
    """
    named = run.config.project.label_studio
    address = {} if named == LOCAL else {"label_studio_url": named}
    given = {**address, **given_settings(run), **own}
    try:
        settings = load_settings(**given)
    except ConfigurationError as error:
        raise ConfigurationError(_by_key(str(error))) from None
    plan_of(settings)
    recipe_of(settings)
    return settings


def given_settings(run: Run) -> dict[str, Any]:
    """Return the settings that the file or a flag gives, and no variable of the environment."""
    chosen = {}
    for path, name, value in _settings_written(run.config):
        if path in run.flags or not _in_environment(name):
            chosen[name] = value
    weights = chosen.get("weights")
    if weights is not None and (run.base / Path(weights).expanduser()).is_file():
        chosen["weights"] = str(run.base / Path(weights).expanduser())
    return chosen


def environment_of(settings: Settings, own: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment in which a child process reads the same settings."""
    variables = {
        environment_name(Settings.model_fields[name]): _as_text(getattr(settings, name))
        for name in own
    }
    if CONFIG_FILE_VARIABLE not in os.environ and Path(DEFAULT_CONFIG_FILE).is_file():
        variables[CONFIG_FILE_VARIABLE] = str(Path(DEFAULT_CONFIG_FILE).absolute())
    return variables


def shown(run: Run) -> list[tuple[str, str, str]]:
    """Return (key, value, where it was said) of every key, secrets masked."""
    written = {path: name for path, name, _ in _settings_written(run.config, every=True)}
    settings = settings_of(run)
    rows = []
    for path, value, was_given in _leaves(run.config, ()):
        name = written.get(path)
        origin = FLAG if _covers(run.flags, path) else FILE if was_given else DEFAULT
        if name is not None and origin != FLAG and _in_environment(name):
            origin, value = ENVIRONMENT, getattr(settings, name)
        rows.append((".".join(path), masked(path[-1], value), origin))
    return rows


def masked(name: str, value: Any) -> str:
    """Return a value as text that may be shown."""
    if isinstance(value, SecretStr) or (_SECRET_NAMES.search(name) and value):
        return "********"
    if isinstance(value, Mapping):
        inner = [f"{key}: {masked(str(key), each)}" for key, each in value.items()]
        return "{" + ", ".join(inner) + "}"
    return _SECRET_IN_URL.sub("********", "" if value is None else str(value))


def without_secrets(name: str, value: Any) -> Any:
    """Return a value as it is, with secrets in it masked."""
    if isinstance(value, Mapping):
        return {key: without_secrets(str(key), each) for key, each in value.items()}
    text = masked(name, value)
    return value if value is None or text == str(value) else text


def _settings_written(
    config: RunConfig, *, every: bool = False
) -> Iterator[tuple[KeyPath, str, Any]]:
    """Yield (key, setting, value) of what was written, or of `every` key that is a setting."""
    for section_name in ("data", "project", "labeling", "strategy", "model"):
        section = getattr(config, section_name)
        for key, each in type(section).model_fields.items():
            extra = each.json_schema_extra
            name = str(extra["setting"]) if isinstance(extra, dict) and "setting" in extra else None
            if name and (every or key in section.model_fields_set):
                value = _as_setting(key, getattr(section, key), config)
                if value is not None or every:
                    yield (section_name, key), name, value
    if config.labeling.initial == "similar" and not config.labeling.initial_labels:
        yield ("labeling", "initial"), "initial_labels", config.labeling.initial_count()
    for key, value in config.settings.items():
        yield ("settings", key), key, value


def _as_setting(key: str, value: Any, config: RunConfig) -> Any:
    if key == "initial":
        return INITIAL.get(value)
    if key == "frozen":
        return None if value is None else "ask" if value else "on"
    if key == "training":
        return config.model.training.model_dump(exclude_unset=True)
    return value


def _leaves(section: BaseModel, path: KeyPath) -> Iterator[tuple[KeyPath, Any, bool]]:
    """Yield (key, value, whether it was written) of a section and those inside it."""
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value, key in section.model_fields_set
    for key, value in (section.model_extra or {}).items():
        yield (*path, key), value, True


def _covers(flags: frozenset[KeyPath], path: KeyPath) -> bool:
    return any(path[: len(flag)] == flag for flag in flags)


def _in_environment(name: str) -> bool:
    return environment_name(Settings.model_fields[name]) in os.environ


def _as_text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _by_key(message: str) -> str:
    """Name the run's keys beside the settings that the backend names."""
    keys = _KEYS_OF_SETTINGS
    return re.sub(r"(?m)^  (\w+):", lambda m: f"  {keys.get(m[1].lower(), m[1])}:", message)


def _keys_of_settings() -> dict[str, str]:
    """Return the run's key of each setting, by the setting's name and its variable's."""
    keys = {}
    for section_name, section in RunConfig.model_fields.items():
        for key, each in getattr(section.annotation, "model_fields", {}).items():
            extra = each.json_schema_extra
            if isinstance(extra, dict) and "setting" in extra:
                name = str(extra["setting"])
                keys[name] = f"{section_name}.{key}"
                variable = environment_name(Settings.model_fields[name])
                keys[variable.lower()] = keys[name]
    return keys


_KEYS_OF_SETTINGS = _keys_of_settings()
