"""Charts of something that changes along an axis: learning curves, movement, reliability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ml_backend.charts.palette import DASHES, MARKERS, colour, series_colour
from ml_backend.charts.svg import bare_axes, drawing, svg
from ml_backend.legible import legible

WIDTH, HEIGHT = 430, 290
NAME_LENGTH = 28

# (x, value, low, high); low and high are None where no interval is known
Point = tuple[float, float, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart: its name and its points, in the order of x."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Saving:
    """Two points of equal height: what took one line `few` took the other `many`."""

    few: float
    many: float
    value: float


def learning_curves(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    title: str = "Learning curves",
    saving: Saving | None = None,
    percent: bool = True,
    standalone: bool = True,
) -> str:
    """Draw a line with its band for each series, all over one axis; values in [0, 1] as percent.

    Raises ValueError where there is no point at all.
    """
    if not any(each.points for each in series):
        raise ValueError("a learning curve needs at least one point")
    with drawing(WIDTH, HEIGHT) as figure:
        axes = bare_axes(figure)
        for row, each in enumerate(series):
            _draw_line(axes, each, row)
        if saving is not None:
            _draw_saving(axes, saving)
        axes.set_xlabel(legible(x_label))
        axes.set_ylabel(legible(y_label))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if len(series) > 1:
            _add_legend(axes)
        said = "; ".join(_in_words(each, percent=percent) for each in series if each.points)
        return svg(figure, title, said, standalone=standalone)


def movement(points: Sequence[tuple[float, float]], *, standalone: bool = True) -> str:
    """Draw how much of the queue's front each round kept: (labels, share kept in [0, 1])."""
    if not points:
        raise ValueError("movement needs at least one round")
    title = "How much of the queue's front each round kept"
    with drawing(WIDTH, HEIGHT * 0.72) as figure:
        axes = bare_axes(figure)
        xs, kept = zip(*points, strict=True)
        axes.plot(xs, kept, color=series_colour(0), linewidth=1.4)
        axes.fill_between(xs, kept, color=series_colour(0), alpha=0.12, linewidth=0)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("labels")
        axes.set_ylabel("kept")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        said = f"From {kept[0]:.0%} at {xs[0]:.0f} labels to {kept[-1]:.0%} at {xs[-1]:.0f}"
        return svg(figure, title, said, standalone=standalone)


def reliability(bins: Sequence[tuple[float, float, int]], *, standalone: bool = True) -> str:
    """Draw stated confidence against accuracy: (confidence, accuracy, number of labels) a bin."""
    if not bins:
        raise ValueError("a reliability diagram needs at least one bin")
    title = "How often the model is right where it says that it is"
    with drawing(HEIGHT + 30, HEIGHT) as figure:
        axes = bare_axes(figure)
        axes.plot([0, 1], [0, 1], color=colour("muted"), linestyle="--", linewidth=1)
        confidences, accuracies, numbers = zip(*bins, strict=True)
        largest = max(*numbers, 1)
        sizes = [20 + 180 * number / largest for number in numbers]
        axes.plot(confidences, accuracies, color=series_colour(0), linewidth=1)
        axes.scatter(confidences, accuracies, s=sizes, color=series_colour(0), alpha=0.75)
        axes.set(xlim=(-0.03, 1.05), ylim=(-0.03, 1.05))
        axes.set_xlabel("stated confidence")
        axes.set_ylabel("right")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        said = "; ".join(f"{c:.0%} stated, {a:.0%} right of {n}" for c, a, n in bins)
        return svg(figure, title, said, standalone=standalone)


def _draw_line(axes: Axes, series: Series, row: int) -> None:
    if not series.points:
        return
    xs, values, lows, highs = zip(*series.points, strict=True)
    hue = series_colour(row)
    banded = [math.nan if low is None else low for low in lows]
    topped = [math.nan if high is None else high for high in highs]
    axes.fill_between(xs, banded, topped, color=hue, alpha=0.14, linewidth=0)
    axes.plot(
        xs,
        values,
        color=hue,
        linewidth=2,
        linestyle=DASHES[row % len(DASHES)],
        marker=MARKERS[row % len(MARKERS)],
        markersize=4.5,
        label=legible(series.name, NAME_LENGTH),
    )


def _draw_saving(axes: Axes, saving: Saving) -> None:
    axes.annotate(
        "",
        xy=(saving.few, saving.value),
        xytext=(saving.many, saving.value),
        arrowprops={"arrowstyle": "<->", "color": colour("ink"), "linewidth": 1.2},
    )
    number = round(saving.many - saving.few)
    axes.annotate(
        f"{number} saved",
        xy=((saving.few + saving.many) / 2, saving.value),
        xytext=(0, -5),
        textcoords="offset points",
        ha="center",
        va="top",
        color=colour("ink"),
        fontweight="bold",
    )


def _add_legend(axes: Axes) -> None:
    legend = axes.legend(loc="lower right", frameon=False)
    for text in legend.get_texts():
        text.set_color(colour("ink"))


def _in_words(series: Series, *, percent: bool) -> str:
    form = ".0%" if percent else ".3g"
    (first, low, *_), (last, high, *_) = series.points[0], series.points[-1]
    return f"{series.name}: {low:{form}} at {first:.0f}, {high:{form}} at {last:.0f}"
