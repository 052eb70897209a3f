"""Charts of classes: bars, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ml_backend.charts.palette import colour, series_colour
from ml_backend.charts.svg import bare_axes, drawing, svg
from ml_backend.legible import legible

WIDTH = 430
BAR, GAP, FRAME = 11, 9, 74  # pixels
NAME_LENGTH = 24
COLUMN_LENGTH = 12
CELL = 34
FULLEST = 0.62  # opacity of a cell that holds its whole row; the number in it stays readable


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar a name, with (low, high) where an interval is known."""

    name: str
    values: Sequence[float]
    intervals: Sequence[tuple[float, float] | None] = ()


def bars(
    names: Sequence[str],
    series: Sequence[Bars],
    x_label: str,
    *,
    title: str = "",
    percent: bool = False,
    standalone: bool = True,
) -> str:
    """Draw a group of lying bars for each name, the first name on top.

    Raises ValueError where there is no name, or a series has not one value for each.
    """
    if not names or any(len(each.values) != len(names) for each in series):
        raise ValueError(f"expected one value for each of {len(names)} names")
    height = FRAME + len(names) * (BAR * len(series) + GAP)
    with drawing(WIDTH, height) as figure:
        axes = bare_axes(figure)
        for row, each in enumerate(series):
            _draw_bars(axes, each, row, len(series))
        axes.set_yticks(range(len(names)), [legible(name, NAME_LENGTH) for name in names])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", colors=colour("ink"))
        axes.set_xlabel(legible(x_label))
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6))
        if len(series) > 1:
            legend = figure.legend(loc="outside upper right", ncols=len(series), frameon=False)
            for text in legend.get_texts():
                text.set_color(colour("ink"))
        form = ".0%" if percent else ".4g"
        said = "; ".join(
            f"{name}: "
            + ", ".join(f"{format(each.values[row], form)} {each.name}" for each in series)
            for row, name in enumerate(names)
        )
        return svg(figure, title or x_label, said, standalone=standalone)


def confusion(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], *, standalone: bool = True
) -> str:
    """Draw a confusion matrix: truth in rows, prediction in columns, shaded by share of the row.

    Raises ValueError for a matrix that is not square over the classes.
    """
    size = len(classes)
    if not size or len(matrix) != size or any(len(row) != size for row in matrix):
        raise ValueError(f"expected {size} rows of {size} numbers")
    side = 130 + CELL * size
    names = [legible(name, NAME_LENGTH) for name in classes]
    with drawing(max(side, 240), max(side, 240)) as figure:
        axes = bare_axes(figure)
        axes.grid(visible=False)
        axes.set_aspect("equal")
        _draw_cells(axes, matrix)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        below = [legible(name, COLUMN_LENGTH) for name in classes]
        axes.set_xticks(range(size), below, rotation=90 if _is_long(below) else 0)
        axes.set_yticks(range(size), names)
        axes.tick_params(colors=colour("ink"))
        axes.set_xlabel("the model's answer")
        axes.set_ylabel("the annotators' label")
        right, all_of_it = sum(matrix[row][row] for row in range(size)), sum(map(sum, matrix))
        said = f"{right} of {all_of_it} on the diagonal, where the model agrees with the label"
        return svg(figure, "Confusion matrix", said, standalone=standalone)


def _draw_bars(axes: Axes, series: Bars, row: int, rows: int) -> None:
    share = BAR / (BAR * rows + GAP)
    places = [place + (row - (rows - 1) / 2) * share for place in range(len(series.values))]
    hatch = (None, "////", "....")[row % 3]  # tells the series apart without colour
    axes.barh(
        places,
        series.values,
        height=share * 0.9,
        color=series_colour(row),
        edgecolor=colour("ground"),
        linewidth=0,
        hatch=hatch,
        label=legible(series.name),
    )
    for place, interval in zip(places, series.intervals, strict=False):
        if interval is not None:
            axes.plot(interval, (place, place), color=colour("ink"), linewidth=1.2)


def _draw_cells(axes: Axes, matrix: Sequence[Sequence[int]]) -> None:
    for truth, row in enumerate(matrix):
        whole = max(sum(row), 1)
        for answer, number in enumerate(row):
            hue = series_colour(0) if truth == answer else series_colour(1)
            corner = (answer - 0.47, truth - 0.47)
            cell = Rectangle(corner, 0.94, 0.94, linewidth=0, facecolor=hue)
            cell.set_alpha(FULLEST * number / whole)
            axes.add_patch(cell)
            if number:
                axes.text(answer, truth, f"{number}", ha="center", va="center", color=colour("ink"))


def _is_long(names: Sequence[str]) -> bool:
    return max(map(len, names)) > 4
