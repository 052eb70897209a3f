"""What was probably meant by a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """Quote a name, with the nearest known one where one is near, or with what there is."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    if close:
        return f"{name!r}; did you mean {close[0]!r}?"
    return f"{name!r}; there is: {', '.join(names) or 'none'}"
