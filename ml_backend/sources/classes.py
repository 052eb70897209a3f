"""The class names of a data set that stores numbers.

Knows nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def name_of(target: Any, names: Sequence[str] | None) -> str | None:
    """Return the class of a label as it is stored: a number or a text; None: no label.

    Negative numbers stand for "not known" in the test splits of many data sets.
    """
    if target is None or target == "":
        return None
    if isinstance(target, str):
        return target
    number = int(target)
    if number < 0:
        return None
    return str(names[number]) if names is not None and number < len(names) else str(number)
