"""From the measurements of `ranking_speed` to a table, a plot and a JSON file."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.learning_curve_report import replace_between
from benchmarks.ranking_bars import table as bars_table

_START, _END = "<!-- ranking-speed: start -->", "<!-- ranking-speed: end -->"
_BARS_START, _BARS_END = "<!-- ranking-bars: start -->", "<!-- ranking-bars: end -->"


def write_report(
    records: list[dict[str, Any]], *, command: str, out: Path, docs: Path | None
) -> None:
    """Write ranking_speed.json and .png into `out`, print the table, and put it into `docs`."""
    out.mkdir(parents=True, exist_ok=True)
    whole = {"command": command, "machine": machine(), "records": records}
    (out / "ranking_speed.json").write_text(json.dumps(whole, indent=1) + "\n")
    plot(records, out / "ranking_speed.png")
    text = f"```\n{command}\n```\n\n{table(records)}\n{machine()}\n"
    print(text)
    if docs is not None:
        replace_between(docs, _START, _END, text)


def write_bars(records: list[dict[str, Any]], *, command: str, docs: Path | None) -> None:
    """Print the table of the bars, and put it into `docs`."""
    text = f"```\n{command}\n```\n\n{bars_table(records)}\nOn {cpu()}.\n"
    print(text)
    if docs is not None:
        replace_between(docs, _BARS_START, _BARS_END, text)


def machine() -> str:
    """Return what the numbers were measured on, in a line."""
    return f"Measured on one thread of {cpu()}."


def cpu() -> str:
    """Return the processor, how many of it there are for us, and the version of Python."""
    name = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    return f"{name} ({cores} cores), Python {platform.python_version()}"


def table(records: list[dict[str, Any]]) -> str:
    """Return the Markdown table: CPU seconds per size, then memory and quality where it ends."""
    sizes = sorted({record["n"] for record in records})
    head = ["family", "who", *(f"{n:,}" for n in sizes), "memory", "radius", "herding"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (family, library, method), of_n in _by_method(records).items():
        done = [record for record in of_n.values() if "failed" not in record]
        last = done[-1] if done else {}
        common = _common_size(records, family)
        same = of_n.get(common, {}) if common else {}
        quality = [
            f"{same[key]:.3f}" if key in same else "–"
            for key in ("coverage_radius", "herding_objective")
        ]
        memory = f"{last['memory_mb']:.0f} MB" if last else "–"
        who = f"**{method}** (ours)" if library == "ours" else f"{library} {method}"
        cells = [_cell(of_n.get(n)) for n in sizes]
        lines.append("| " + " | ".join([family, who, *cells, memory, *quality]) + " |")
    return "\n".join(lines) + "\n" + _failures(records)


def _cell(record: dict[str, Any] | None) -> str:
    if record is None:
        return ""
    return "✗" if "failed" in record else f"{record['cpu_seconds']:.2f}"


def _by_method(
    records: list[dict[str, Any]],
) -> dict[tuple[str, str, str], dict[int, dict[str, Any]]]:
    by_method: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for record in records:
        key = (record["family"], record["library"], record["method"])
        by_method.setdefault(key, {})[record["n"]] = record
    families = list(dict.fromkeys(record["family"] for record in records))
    return dict(sorted(by_method.items(), key=lambda item: families.index(item[0][0])))


def _common_size(records: list[dict[str, Any]], family: str) -> int | None:
    """Return the largest pool that every method of the family managed."""
    of_family = [record for record in records if record["family"] == family]
    methods = {(record["library"], record["method"]) for record in of_family}
    done: dict[int, set[tuple[str, str]]] = {}
    for record in of_family:
        if "failed" not in record:
            done.setdefault(record["n"], set()).add((record["library"], record["method"]))
    whole = [n for n, who in done.items() if who == methods]
    return max(whole, default=None)


def _failures(records: list[dict[str, Any]]) -> str:
    said = [
        f"{record['library']} {record['method']} at {record['n']:,}: {record['failed']}"
        for record in records
        if "failed" in record
    ]
    picks = records[0]["picks"]
    text = (
        f"\nCPU seconds for {picks} picks of a pool of N tasks (D = 512, float32, 20 classes, 40 "
        "labeled); ours order the whole pool as well. Memory: the most beyond the inputs, at the "
        "largest N done. Radius (smaller is better) and herding objective (larger is better): of "
        "the picks with the labeled, at the largest N that all of a family managed.\n"
    )
    return text + (f"✗: {'; '.join(said)}.\n" if said else "")


def plot(records: list[dict[str, Any]], file: Path) -> None:
    """Draw CPU seconds against the size of the pool, one panel per family."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    by_method = _by_method(records)
    families = list(dict.fromkeys(key[0] for key in by_method))
    figure, axes = pyplot.subplots(
        3, -(-len(families) // 3), figsize=(12, 9), sharex=True, sharey=True, squeeze=False
    )
    for axis, family in zip(axes.flat, families, strict=False):
        for (of_family, library, method), of_n in by_method.items():
            done = [(n, r["cpu_seconds"]) for n, r in of_n.items() if "failed" not in r]
            if of_family == family and done:
                style = {"lw": 2.2, "color": "black"} if library == "ours" else {"lw": 1.2}
                axis.plot(
                    *zip(*done, strict=True), marker="o", label=f"{library} {method}", **style
                )
        axis.set(title=family, xscale="log", yscale="log", xlabel="tasks", ylabel="CPU s")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=80)
    pyplot.close(figure)
