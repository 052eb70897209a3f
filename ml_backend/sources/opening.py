"""Open a data source by what a person wrote: a kind and its options.

Knows which kinds there are and how a wrong option is answered. Each kind's reader checks the rest.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from pydantic import ValidationError, validate_call

from ml_backend.errors import ConfigurationError
from ml_backend.sources.item import Source

# The function of each kind, imported when it is asked for: some bring heavy libraries along.
KINDS = {
    "folder": "ml_backend.sources.folder:open_folder",
    "csv": "ml_backend.sources.csv_file:open_csv",
    "fsspec": "ml_backend.sources.remote:open_remote",
    "huggingface": "ml_backend.sources.huggingface:open_huggingface",
    "torchvision": "ml_backend.sources.torchvision_sets:open_torchvision",
    "tfds": "ml_backend.sources.tfds:open_tfds",
}
PROJECT = "label_studio"


@dataclass(frozen=True, slots=True)
class Reach:
    """What sources cannot do by themselves, given by the wiring.

    `web(address, max_bytes)` fetches a http(s) address under the rules for images; `project`
    opens another Label Studio project as a source.
    """

    web: Callable[[str, int], bytes] | None = None
    project: Callable[..., Source] | None = None


def open_source(spec: Mapping[str, Any], reach: Reach | None = None) -> Source:
    """Open a source, such as {"kind": "folder", "path": "photos"}.

    Raises ConfigurationError, which says what to do.
    """
    reach = reach or Reach()
    options = {name: value for name, value in spec.items() if name != "kind" and value is not None}
    opener = _opener(spec.get("kind"), reach)
    known = inspect.signature(opener).parameters
    if "web" in known:
        options.setdefault("web", reach.web)
    for name in options.keys() - known.keys():
        given = [each for each in known if each != "web"]
        raise ConfigurationError(f"{spec['kind']} has no option {nearest(name, given)}")
    checked = validate_call(opener)
    try:
        source: Source = checked(**options)
    except ValidationError as error:
        raise ConfigurationError(_lines(str(spec["kind"]), error)) from None
    return source


def nearest(name: object, known: list[str]) -> str:
    """Name what was written, what was probably meant, and what there is."""
    close = get_close_matches(str(name).lower(), [each.lower() for each in known], n=1)
    meant = next((each for each in known if close and each.lower() == close[0]), None)
    guess = f" (did you mean {meant!r}?)" if meant else ""
    return f"{name!r}{guess}; there are: {', '.join(known) or 'none'}"


def _opener(kind: object, reach: Reach) -> Callable[..., Source]:
    if kind == PROJECT and reach.project is not None:
        return reach.project
    if kind not in KINDS:
        raise ConfigurationError(f"no kind of source is called {nearest(kind, [*KINDS, PROJECT])}")
    module, _, function = KINDS[str(kind)].partition(":")
    opener: Callable[..., Source] = getattr(import_module(module), function)
    return opener


def _lines(kind: str, error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems]
    return f"options of the source {kind} that cannot be used:\n  " + "\n  ".join(lines)
