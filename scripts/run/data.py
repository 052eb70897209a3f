"""The images of a run: which go into the project, and which are kept apart to test on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ml_backend.errors import ConfigurationError
from ml_backend.sources import Problems, Source, SourceItem
from scripts.run.in_force import Run


@dataclass(frozen=True)
class OfSplit:
    """The images of one split of a source, or of all others."""

    source: Source
    split: str
    others: bool

    @property
    def problems(self) -> Problems:
        """What the last pass could not use."""
        return self.source.problems

    def items(self) -> Iterator[SourceItem]:
        """Stream them."""
        for item in self.source.items():
            if (item.split == self.split) != self.others:
                yield item

    def count(self) -> int | None:
        """Return that only a whole pass could tell."""
        return None

    def describe(self) -> str:
        """Say which part it is."""
        word = "without" if self.others else "of"
        return f"{self.source.describe()}, {word} the split {self.split!r}"


@dataclass(frozen=True)
class RunData:
    """`pool` is what gets labeled; `test` None: nothing was kept apart."""

    pool: Source
    test: Source | None


def open_data(run: Run, open_source: Callable[[dict[str, Any]], Source]) -> RunData:
    """Open the sources. Raises ConfigurationError, which says what to do."""
    spec = run.source_spec()
    assert spec is not None  # the config demands one
    source, split = open_source(spec), run.config.data.test_split
    if split:
        return RunData(OfSplit(source, split, True), OfSplit(source, split, False))
    test = run.source_spec("test")
    return RunData(source, open_source(test) if test else None)


def classes_of(run: Run, known: set[str]) -> tuple[str, ...]:
    """Return the classes, as configured or as the labels have them.

    Raises ConfigurationError where there are too few, or labels of none of them.
    """
    named = run.config.data.classes
    if not named and len(known) < 2:
        raise ConfigurationError(
            f"data.classes: the source knows {len(known)} classes, expected two at least; name "
            "them, for example classes: [cat, dog] (--classes cat,dog)"
        )
    strange = sorted(known - set(named)) if named else []
    if strange:
        raise ConfigurationError(
            f"data.classes has no {', '.join(map(repr, strange[:5]))}, which the source's labels "
            "have: add what is missing"
        )
    return named or tuple(sorted(known))
