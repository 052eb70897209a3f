"""From the records of `appraisal_truth` to tables and a JSON file.

Knows records. Shares of projects have their binomial (Wilson) interval at 95 %.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning_curve_report import replace_between
from benchmarks.planted_errors import KINDS, METHODS
from benchmarks.project_simulation import MOMENTS, QUEUE, RANDOM
from ml_backend.learning.evaluation import proportion

Record = dict[str, Any]
_NAME = "appraisal-truth"


def write_report(records: list[Record], *, command: str, out: Path, docs: Path | None) -> None:
    """Write appraisal_truth.json into `out`, print the tables, and put them into `docs`."""
    looks = [r for r in records if "queue" in r]
    flips = [r for r in records if "queue" not in r]
    summary = {
        "command": command,
        "sets": sorted({r["set"] for r in records}),
        "seeds": len({r["seed"] for r in records}),
        "moments": [_moment(looks, queue, *m) for queue in (QUEUE, RANDOM) for m in MOMENTS],
        "by_set": [
            {"set": name, **_moment([r for r in looks if r["set"] == name], QUEUE, *MOMENTS[-1])}
            for name in sorted({r["set"] for r in records})
        ],
        "suspects": [_suspects(flips, kind, method) for kind in KINDS for method in METHODS],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "appraisal_truth.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = _tables(summary)
    print(text)
    if docs is not None:
        replace_between(docs, f"<!-- {_NAME}: start -->", f"<!-- {_NAME}: end -->", text)


def _moment(looks: list[Record], queue: str, labels: int, held_out: int) -> Record:
    here = [
        r for r in looks if (r["queue"], r["labels"], r["held_out"]) == (queue, labels, held_out)
    ]
    stated = [r for r in here if r["saved"]["measured"]]
    claimed = [r for r in here if r["saved"]["claims_saving"]]
    true = [r["saved"]["true"] for r in here if r["saved"]["true"] is not None]
    return {
        "queue": queue,
        "labels": labels,
        "held_out": held_out,
        "random_labels": float(np.mean([r["saved"]["random_labels"] for r in here])),
        "projects": len(here),
        "accuracy_covered": _share(here, lambda r: r["accuracy"]["covered"]),
        "accuracy_width": _mean(here, lambda r: r["accuracy"]["width"]),
        "gain_covered": _share(here, lambda r: r["gain"]["covered"]),
        "gain_width": _mean(here, lambda r: r["gain"]["width"]),
        "gain_true": _mean(here, lambda r: r["gain"]["true"]),
        "saved_covered": _share(here, lambda r: r["saved"]["covered"]),
        "saved_width": _mean(here, lambda r: r["saved"]["width"]),
        "saved_true": float(np.median(true)) if true else None,
        "cannot_tell": _share(here, lambda r: not r["saved"]["measured"]),
        "claimed": _share(here, lambda r: r["saved"]["claims_saving"]),
        "claimed_covered": _share(claimed, lambda r: r["saved"]["covered"]),
        "false": _share(stated, lambda r: r["saved"]["false"]),
    }


def _suspects(flips: list[Record], kind: str, method: str) -> Record:
    counts_R4 = np.array([r[f"{kind}.{method}"] for r in flips])
    flipped, suspected, both, among_worst = counts_R4.sum(axis=0).tolist()
    with np.errstate(invalid="ignore", divide="ignore"):
        precision_R, recall_R = counts_R4[:, 2] / counts_R4[:, 1], counts_R4[:, 2] / counts_R4[:, 0]
    return {
        "kind": kind,
        "method": method,
        "projects": len(flips),
        "flipped": flipped,
        "suspected": suspected,
        "precision": both / max(suspected, 1),
        "precision_spread": float(np.nanstd(precision_R)),
        "recall": both / max(flipped, 1),
        "recall_spread": float(np.nanstd(recall_R)),
        "precision_of_worst": among_worst / max(flipped, 1),
    }


def _share(records: list[Record], holds: Callable[[Record], bool]) -> list[float] | None:
    share = proportion(sum(bool(holds(r)) for r in records), len(records))
    if share.value is None or share.low is None or share.high is None:
        return None
    return [share.value, share.low, share.high]


def _mean(records: list[Record], of: Callable[[Record], float]) -> float:
    return float(np.mean([of(r) for r in records]))


def _tables(summary: Record) -> str:
    moments = summary["moments"]
    queue = [m for m in moments if m["queue"] == QUEUE]
    random = [m for m in moments if m["queue"] == RANDOM]
    n = f"{summary['seeds']} projects of each of {', '.join(summary['sets'])}"
    return "\n\n".join(
        [
            f"`{summary['command']}`: {n}.",
            "**The default queue**\n\n" + _saved_table(queue, _look),
            f"**The same by set**, at {_look(summary['by_set'][0])}\n\n"
            + _saved_table(summary["by_set"], lambda row: row["set"]),
            "**A queue that is random itself**: there is nothing to find\n\n"
            + _saved_table(random, _look),
            "**Accuracy, and the gain of the next 100 labels**\n\n" + _accuracy_table(queue),
            "**Suspects**, 5 % of the labels flipped\n\n" + _suspects_table(summary["suspects"]),
        ]
    )


def _look(row: Record) -> str:
    return f"{row['labels']} queue, {row['held_out']} audit labels"


def _saved_table(rows: list[Record], name: Callable[[Record], str]) -> str:
    head = [
        "labels saved",
        "interval covers",
        "width",
        "true saving, median",
        '"cannot tell yet"',
        "a saving is stated",
        "of the stated, false",
        "of the stated savings, covered",
    ]
    lines = [
        [
            name(row),
            _percent(row["saved_covered"]),
            f"{row['saved_width']:.0f}",
            f"{row['saved_true']:.0f} of {row['random_labels']:.0f}",
            _percent(row["cannot_tell"]),
            _percent(row["claimed"]),
            _percent(row["false"]),
            _percent(row["claimed_covered"]),
        ]
        for row in rows
    ]
    return _table(head, lines)


def _accuracy_table(rows: list[Record]) -> str:
    head = [
        "look",
        "accuracy covered",
        "width",
        "gain covered",
        "width",
        "true gain, mean",
    ]
    lines = [
        [
            _look(row),
            _percent(row["accuracy_covered"]),
            f"{100 * row['accuracy_width']:.1f}",
            _percent(row["gain_covered"]),
            f"{100 * row['gain_width']:.1f}",
            f"{100 * row['gain_true']:.1f}",
        ]
        for row in rows
    ]
    return _table(head, lines)


def _suspects_table(rows: list[Record]) -> str:
    head = [
        "flipped",
        "found by",
        "suspected of flipped",
        "precision",
        "recall",
        "precision of as many worst",
    ]
    lines = [
        [
            KINDS[row["kind"]],
            METHODS[row["method"]],
            f"{row['suspected']} of {row['flipped']}",
            f"{100 * row['precision']:.0f} ± {100 * row['precision_spread']:.0f} %",
            f"{100 * row['recall']:.0f} ± {100 * row['recall_spread']:.0f} %",
            f"{100 * row['precision_of_worst']:.0f} %",
        ]
        for row in rows
    ]
    return _table(head, lines)


def _percent(share: list[float] | None) -> str:
    if share is None:
        return "–"
    value, low, high = (100 * each for each in share)
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
