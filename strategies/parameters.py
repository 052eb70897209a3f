"""What values a strategy's parameters may take, by their names: one table for all strategies.

A name means the same thing wherever it occurs. What is not listed is a whole number >= 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ml_backend.errors import ConfigurationError, UnknownStrategy
from strategies import dropout, laplace
from strategies.uncertainty import NAMES


def check_parameter(strategy: str, name: str, value: object) -> None:
    """Raise UnknownStrategy for an uncertainty, ConfigurationError for any other bad value."""
    where = f"strategy {strategy!r}: {name}={value!r}"
    if name == "uncertainty":
        if value not in NAMES:
            raise UnknownStrategy(f"{where} does not exist; there is: {', '.join(NAMES)}")
        return
    allowed, expected = _ALLOWED.get(name, _WHOLE)
    if not allowed(value):
        raise ConfigurationError(f"{where}: expected {expected}")


def _is_number(value: object, low: float, high: float) -> bool:
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and low <= value < high  # type: ignore[operator]


def _is_positive(value: object) -> bool:
    return _is_number(value, 0.0, math.inf) and value != 0


def _is_matrix(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 2 and bool(np.isfinite(value).all())


_WHOLE: tuple[Callable[[object], bool], str] = (
    lambda v: isinstance(v, (int, np.integer)) and not isinstance(v, bool) and bool(v >= 1),
    "a whole number >= 1",
)
_ALLOWED: dict[str, tuple[Callable[[object], bool], str]] = {
    "weight": (lambda v: _is_number(v, 0.0, math.inf), "a number >= 0"),
    "sigma": (lambda v: v is None or _is_positive(v), "a number > 0, or None"),
    "beta": (_is_positive, "a number > 0"),
    "regularisation": (_is_positive, "a number > 0"),
    "prior_precision": (_is_positive, "a number > 0"),
    "posterior": (lambda v: v in (laplace.NAME, dropout.NAME), "laplace or dropout"),
    "relevance": (lambda v: _is_number(v, 0.0, 1.0) or v == 1, "a number from 0 to 1"),
    "rate": (lambda v: _is_number(v, 0.0, 1.0), "a share from 0 up to, but not including, 1"),
    "centred": (lambda v: isinstance(v, bool), "True or False"),
    "examples_KD": (
        lambda v: v is None or _is_matrix(v),
        "a matrix of finite numbers, one example a row, or None",
    ),
}
