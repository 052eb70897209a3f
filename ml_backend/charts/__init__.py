"""Charts: plain data in, SVG text out. The only package that knows matplotlib."""

from ml_backend.charts.categories import Bars, bars, confusion
from ml_backend.charts.curves import Saving, Series, learning_curves, movement, reliability
from ml_backend.charts.svg import svg

__all__ = [
    "Bars",
    "Saving",
    "Series",
    "bars",
    "confusion",
    "learning_curves",
    "movement",
    "reliability",
    "svg",
]
