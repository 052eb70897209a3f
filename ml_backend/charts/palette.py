"""The colours of charts, by what they are for. Knows CSS; no matplotlib.

A chart is drawn in stand-in colours, which `charts.svg` replaces by CSS custom properties: one SVG
is then right on light and on dark ground. The series are told apart by people who see no red or no
green (after Okabe and Ito, "Color Universal Design", 2008, darkened to 4.5:1 on white), and by
markers and dashes where there is no colour at all.
"""

from __future__ import annotations

# name -> (on light ground, on dark ground)
COLOURS = {
    "ink": ("#1d2330", "#e8ebf2"),
    "muted": ("#5a6478", "#a3adc0"),
    "rule": ("#d9dee8", "#343c4c"),
    "ground": ("#ffffff", "#171b24"),
    "series-1": ("#0067a3", "#62b6f2"),
    "series-2": ("#b84a00", "#f5995a"),
    "series-3": ("#00735a", "#45cda6"),
    "series-4": ("#9c3d77", "#ea9fca"),
    "series-5": ("#6b5e00", "#e3cf4f"),
    "series-6": ("#4b5a7c", "#aebbd8"),
}
SERIES = tuple(name for name in COLOURS if name.startswith("series"))
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))

# Colours that nobody would choose, so that nothing else in a drawing is replaced.
STAND_INS = {name: f"#a1b2{row + 16:02x}" for row, name in enumerate(COLOURS)}


def colour(name: str) -> str:
    """Give the stand-in for a colour. Raises KeyError for a name that is not in COLOURS."""
    return STAND_INS[name]


def series_colour(row: int) -> str:
    """Give the stand-in for the colour of a series, counted from 0."""
    return STAND_INS[SERIES[row % len(SERIES)]]


def custom_properties(ground: int) -> str:
    """Write the colours as CSS declarations; `ground` is 0 for light and 1 for dark."""
    return "".join(f"--chart-{name}:{values[ground]};" for name, values in COLOURS.items())


# For a page with charts inline, which bring no style of their own there.
STYLE = (
    f":root{{{custom_properties(0)}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{custom_properties(1)}}}}}"
)
