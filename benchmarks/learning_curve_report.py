"""From the runs of `learning_curves` to a table, a plot and a JSON file.

AULC: area under the accuracy curve over log(labels), divided by its width: the mean accuracy on the
way from C to 80C labels. Differences are paired: same seed, same split.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning_curve_plot import plot
from ml_backend.simulation.measures import aulc, paired_p

REFERENCE, DEFAULT = "random", "uherding (default)"
RATIO_AT = (5, 10, 20, 40)  # budgets, in classes, at which the label ratio is told
_TITLES = {
    "reranked": "**Ranked again at each budget**",
    "once": "**One ranking, consumed without ranking again** (5C labels by maxherding, then 40C "
    "more along one ranking)",
    "cold start": "**Cold start**: accuracy at C and at 2C labels, without a model in the first",
}
# What the first batch of a contender is made by.
COLD_STARTS = {
    "random": "random",
    "maxherding": "maxherding",
    "maxherding, not centred": "maxherding, not centred",
    "kmeans": "kmeans",
    "typiclust": "typiclust",
    "facility_location": "facility_location",
    "coreset": "coreset",
}
SAME_POINTS = 0.5  # AULC of random here and in the kept results: less is rounding, more is not


def write_report(
    records: list[dict[str, Any]],
    *,
    command: str,
    out: Path,
    docs: Path | None,
    name: str = "learning-curves",
    keep: list[str] | None = None,
) -> None:
    """Write NAME.json and .png into `out`, print the table, and put it into `docs`.

    keep: rows of the kept NAME.json that stay where `records` has none of them, in this order.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{name.replace('-', '_')}.json"
    kept = json.loads(file.read_text()) if keep is not None else {}
    commands = [*kept.get("commands", []), command]
    whole: dict[str, Any] = {"commands": list(dict.fromkeys(commands))}
    texts = []
    for mode in _in_order(r.get("mode", "reranked") for r in records):
        summary = summarise([r for r in records if r.get("mode", "reranked") == mode])
        if keep is not None:
            summary = merged(kept[mode], summary, keep)
        whole[mode] = summary
        suffix = "" if mode == "reranked" else f"_{mode}"
        plot(summary, file.with_name(f"{file.stem}{suffix}.png"))
        texts.append(f"{_TITLES[mode]}\n\n{table(summary)}")
        if mode == "reranked":
            texts.append(f"{_TITLES['cold start']}\n\n{cold_start_table(summary)}")
    file.write_text(json.dumps({**kept, **whole}, indent=1) + "\n")
    text = "\n".join(texts)
    print(text)
    if docs is not None:
        said = "\n".join(whole["commands"])
        replace_table(docs, f"```\n{said}\n```\n\n{text}", name)


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return per set and contender: the mean curve, AULC, its difference to random, the ratio."""
    sets = {name: _of_set(records, name) for name in _in_order(r["set"] for r in records)}
    return {"sets": sets, "overall": _overall(sets)}


def merged(kept: dict[str, Any], fresh: dict[str, Any], order: list[str]) -> dict[str, Any]:
    """Return the kept summary with the fresh rows in it; rows that `order` lacks are dropped.

    Raises ValueError where random came out otherwise: what was measured on other features, splits
    or arithmetic must not stand in one table.
    """
    sets = {}
    for name, of_set in kept["sets"].items():
        _require_same_random(name, of_set, fresh["sets"].get(name))
        rows = {
            **of_set["rows"],
            **fresh["sets"][name]["rows"],
            REFERENCE: of_set["rows"][REFERENCE],
        }
        sets[name] = {**of_set, "rows": {label: rows[label] for label in order if label in rows}}
    return {"sets": sets, "overall": _overall(sets)}


def _require_same_random(name: str, kept: dict[str, Any], fresh: dict[str, Any] | None) -> None:
    if fresh is None:
        raise ValueError(f"the kept results have the set {name}: run it too")
    was, now = kept["rows"][REFERENCE], fresh["rows"][REFERENCE]
    if was["pairs"] != now["pairs"] or abs(was["aulc"] - now["aulc"]) > SAME_POINTS:
        raise ValueError(
            f"{name}: {REFERENCE} has an AULC of {now['aulc']:.2f} over {now['pairs']} seeds here, "
            f"and {was['aulc']:.2f} over {was['pairs']} in the kept results: run everything anew"
        )


def _overall(sets: dict[str, Any]) -> dict[str, Any]:
    overall = {}
    for contender in _in_order(label for s in sets.values() for label in s["rows"]):
        rows = [s["rows"][contender] for s in sets.values()]
        deltas = np.array([d for row in rows for d in row["deltas"]])
        mean = float(np.mean([row["delta"] for row in rows]))
        overall[contender] = {"delta": mean, **_paired(deltas)}
    return overall


def labels_ratio(
    budgets: list[int], random_curve: NDArray[np.floating[Any]], accuracy: float, used: int
) -> float | None:
    """Return how many labels random needs for `accuracy`, per label used; None beyond its curve.

    Random's mean curve is made monotone and read off along log(labels).
    """
    rising = np.maximum.accumulate(random_curve)
    if accuracy > rising[-1] or accuracy < rising[0]:
        return None
    return float(np.exp(np.interp(accuracy, rising, np.log(budgets))) / used)


def _of_set(records: list[dict[str, Any]], name: str) -> dict[str, Any]:
    of_set = [r for r in records if r["set"] == name]
    curves = {}
    for contender in _in_order(r["contender"] for r in of_set):
        runs = sorted((r for r in of_set if r["contender"] == contender), key=lambda r: r["seed"])
        curves[contender] = np.array([r["accuracies"] for r in runs])
    budgets, n_classes = of_set[0]["budgets"], of_set[0]["classes"]
    areas = {c: np.array([aulc(budgets, list(run)) for run in curves[c]]) for c in curves}
    rows = {}
    for contender, curve_SB in curves.items():
        n_seeds = len(curve_SB)  # some have more seeds than others; random has them all
        random_B = curves[REFERENCE][:n_seeds].mean(axis=0)
        random_S = areas[REFERENCE][:n_seeds]
        rows[contender] = _row(budgets, n_classes, curve_SB, random_B, areas[contender], random_S)
    return {
        "features": of_set[0]["features"],
        "budgets": budgets,
        "classes": n_classes,
        "seeds": min(len(curve_SB) for curve_SB in curves.values()),
        "most_seeds": len(curves[REFERENCE]),
        "rows": rows,
    }


def _row(
    budgets: list[int],
    n_classes: int,
    curve_SB: NDArray[np.float64],
    random_B: NDArray[np.float64],
    areas_S: NDArray[np.float64],
    random_S: NDArray[np.float64],
) -> dict[str, Any]:
    mean_B = curve_SB.mean(axis=0)
    ratios = {
        str(c): labels_ratio(
            budgets, random_B, float(mean_B[budgets.index(c * n_classes)]), c * n_classes
        )
        for c in RATIO_AT
        if c * n_classes in budgets
    }
    deltas_S = 100.0 * (areas_S - random_S)
    return {
        "accuracy": mean_B.tolist(),
        "accuracy_se": _standard_error(curve_SB).tolist(),
        "aulc": 100.0 * float(areas_S.mean()),
        "aulc_se": 100.0 * float(_standard_error(areas_S)),
        "delta": float(deltas_S.mean()),
        "deltas": deltas_S.tolist(),
        "labels_ratio": ratios,
        **_paired(deltas_S),
    }


def _paired(deltas: NDArray[np.float64]) -> dict[str, Any]:
    """Return the p-value of a two-sided paired t-test against no difference, and the wins."""
    return {"p": paired_p(deltas), "wins": int((deltas > 0).sum()), "pairs": len(deltas)}


def _standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    n = len(values)
    error: NDArray[np.float64] = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else values[0] * 0
    return error


def _in_order(values: Any) -> list[str]:
    return list(dict.fromkeys(values))


def table(summary: dict[str, Any]) -> str:
    """Return the Markdown table: best first, what loses to random below random."""
    sets = summary["sets"]
    head = [
        "strategy",
        *(f"{name} ({s['features']})" for name, s in sets.items()),
        "mean Δ",
        "better / pairs",
        *(["labels random needs per label, 5C/10C/20C/40C"] if _has_ratios(sets) else []),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for contender, whole in sorted(summary["overall"].items(), key=lambda row: -row[1]["delta"]):
        rows = [s["rows"][contender] for s in sets.values()]
        cells = [
            f"{row['aulc']:.1f} ± {row['aulc_se']:.1f} ({row['delta']:+.1f}{_stars(row['p'])})"
            for row in rows
        ]
        wins = "" if contender == REFERENCE else f"{whole['wins']} / {whole['pairs']}"
        name = f"**{contender}**" if contender in (REFERENCE, DEFAULT) else contender
        lines.append(
            "| "
            + " | ".join([name, *cells, f"{whole['delta']:+.1f}", wins, *_mean_ratios(rows)])
            + " |"
        )
    first = next(iter(sets.values()))
    seeds = str(first["seeds"])
    if first["most_seeds"] > first["seeds"]:
        seeds += f" seeds ({first['most_seeds']} where there are more pairs)"
    else:
        seeds += " seeds"
    ratios = (
        ' Ratios: mean over the sets; "–" where random does not get there with 80C labels.'
        if _has_ratios(sets)
        else ""
    )
    return "\n".join(lines) + (
        f"\n\nAULC in points ± standard error over {seeds}; in brackets the difference to random "
        f"on the same splits (\\* p < 0.05, \\*\\* p < 0.01, paired t-test).{ratios}\n"
    )


def cold_start_table(summary: dict[str, Any]) -> str:
    """Return the accuracies at the two smallest budgets, of those that need no model."""
    sets = summary["sets"]
    head = ["first batch by", *sets, "mean at C"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for contender, first_batch in COLD_STARTS.items():
        rows = [s["rows"].get(contender) for s in sets.values()]
        if any(row is None for row in rows):
            continue
        cells = [
            f"{100 * row['accuracy'][0]:.1f} ± {100 * row['accuracy_se'][0]:.1f}, "
            f"{100 * row['accuracy'][1]:.1f}"
            for row in rows
        ]
        mean = 100 * np.mean([row["accuracy"][0] for row in rows])
        lines.append("| " + " | ".join([first_batch, *cells, f"{mean:.1f}"]) + " |")
    return "\n".join(lines) + "\n"


def _stars(p: float) -> str:
    return "\\*\\*" if p < 0.01 else "\\*" if p < 0.05 else ""


def _has_ratios(sets: dict[str, Any]) -> bool:
    last = str(RATIO_AT[-1])
    return any(last in row["labels_ratio"] for s in sets.values() for row in s["rows"].values())


def _mean_ratios(rows: list[dict[str, Any]]) -> list[str]:
    if not any(str(RATIO_AT[-1]) in row["labels_ratio"] for row in rows):
        return []
    said = []
    for c in RATIO_AT:
        ratios = [row["labels_ratio"].get(str(c)) for row in rows]
        known = [ratio for ratio in ratios if ratio is not None]
        said.append(f"{np.mean(known):.1f}" if len(known) == len(rows) else "–")
    return [" / ".join(said)]


def replace_table(docs: Path, text: str, name: str = "learning-curves") -> None:
    """Put `text` between the markers of `docs`; raise ValueError where they are missing."""
    replace_between(docs, f"<!-- {name}: start -->", f"<!-- {name}: end -->", text)


def replace_between(docs: Path, start_mark: str, end_mark: str, text: str) -> None:
    """Put `text` between two marks of a file; raise ValueError where they are missing."""
    before, start, rest = docs.read_text().partition(start_mark)
    _, end, after = rest.partition(end_mark)
    if not start or not end:
        raise ValueError(f"{docs} has no {start_mark} ... {end_mark}")
    docs.write_text(f"{before}{start_mark}\n\n{text}\n{end_mark}{after}")
