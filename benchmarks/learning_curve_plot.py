"""The curves of `learning_curves` as a picture: one panel for each set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

# Drawn in colour; with the others in colour too, nothing could be told from the plot.
SHOWN = (
    "uherding (default)",
    "maxherding",
    "bait",
    "badge",
    "kmeans",
    "typiclust",
    "maxherding, then margin",
    "margin",
    "coreset",
    "random",
    "seed: margin, clustering",
    "seed: entropy, top n",
)
STRONG = ("random", "uherding (default)")


def plot(summary: dict[str, Any], file: Path) -> None:
    """Draw one panel per set: accuracy against labels, mean with a band of one standard error."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sets = summary["sets"]
    figure, axes = pyplot.subplots(1, len(sets), figsize=(4.2 * len(sets), 4.2), squeeze=False)
    for axis, (name, of_set) in zip(axes[0], sets.items(), strict=True):
        for contender, row in of_set["rows"].items():
            _draw(axis, of_set["budgets"], contender, row)
        axis.set(title=name, xscale="log", xlabel="labels")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("accuracy on held-out images")
    lines, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(lines, labels, ncols=6, loc="lower center", fontsize=8)
    figure.suptitle("Grey: the other strategies of the table", fontsize=8, x=0.9)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(file, dpi=90)
    pyplot.close(figure)


def _draw(axis: Any, budgets: list[int], contender: str, row: dict[str, Any]) -> None:
    mean, error = np.array(row["accuracy"]), np.array(row["accuracy_se"])
    if contender not in SHOWN:
        axis.plot(budgets, mean, color="0.85", lw=0.7, zorder=0)
        return
    strong = contender in STRONG
    style = {"lw": 2.2 if strong else 0.9, "ls": "--" if contender.startswith("seed") else "-"}
    if contender == "random":
        style["color"] = "black"
    (line,) = axis.plot(budgets, mean, label=contender, **style)
    if strong:
        axis.fill_between(budgets, mean - error, mean + error, color=line.get_color(), alpha=0.2)
