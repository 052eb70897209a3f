"""Which options each kind of data source takes, read from the functions that open them.

Importing them loads no data library. Knows nothing of what a source holds.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from ml_backend.sources.opening import KINDS as OPENERS
from ml_backend.sources.opening import PROJECT
from scripts.run.names import nearest

KINDS = (*OPENERS, PROJECT)
# Given by the wiring and not by people.
NOT_OPTIONS = {"web"}


def options_of(kind: str) -> dict[str, inspect.Parameter] | None:
    """Return a kind's options; None where only opening it could tell."""
    if kind not in OPENERS:
        return None
    module, _, function = OPENERS[kind].partition(":")
    parameters = inspect.signature(getattr(import_module(module), function)).parameters
    return {name: each for name, each in parameters.items() if name not in NOT_OPTIONS}


def check_options(kind: str, given: Mapping[str, Any]) -> None:
    """Raise ValueError for a kind or options that do not exist, or an option that is missing."""
    if kind not in KINDS:
        raise ValueError(f"kind: there is no kind of source {nearest(kind, KINDS)}")
    known = options_of(kind)
    if known is None:
        return
    unknown = [f"{kind} has no option {nearest(name, known)}" for name in given.keys() - known]
    if unknown:
        raise ValueError("; ".join(unknown))
    missing = [name for name in _required(known.values()) if given.get(name) is None]
    if missing:
        raise ValueError(f"{kind} needs {', '.join(missing)}")


def _required(options: Iterable[inspect.Parameter]) -> list[str]:
    return [each.name for each in options if each.default is inspect.Parameter.empty]
