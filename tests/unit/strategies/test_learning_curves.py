"""The benchmark's arithmetic, by pencil: a table that misleads is worse than none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.learning_curve_report import (
    labels_ratio,
    merged,
    replace_table,
    summarise,
    table,
)
from benchmarks.learning_curves import HEADLINE, ONCE, RERANKED, Contender, Seeds


def record(contender: str, seed: int, accuracies: list[float]) -> dict[str, Any]:
    return {
        "set": "toy",
        "features": "none",
        "contender": contender,
        "seed": seed,
        "classes": 2,
        "budgets": [10, 100, 1000],
        "accuracies": accuracies,
    }


def test_ratio_is_random_s_labels_for_the_same_accuracy_per_label_used() -> None:
    random_curve = np.array([0.5, 0.7, 0.9])
    assert labels_ratio([10, 100, 1000], random_curve, 0.7, used=50) == pytest.approx(2.0)
    assert labels_ratio([10, 100, 1000], random_curve, 0.6, used=10) == pytest.approx(10**0.5)
    assert labels_ratio([10, 100, 1000], random_curve, 0.95, used=50) is None
    assert labels_ratio([10, 100, 1000], random_curve, 0.4, used=50) is None


def test_differences_to_random_are_taken_seed_by_seed() -> None:
    records = [
        record("random", 0, [0.5, 0.5, 0.5]),
        record("random", 1, [0.9, 0.9, 0.9]),
        record("better", 1, [0.92, 0.92, 0.92]),
        record("better", 0, [0.51, 0.51, 0.51]),
    ]
    row = summarise(records)["sets"]["toy"]["rows"]["better"]
    assert row["deltas"] == pytest.approx([1.0, 2.0])
    assert row["delta"] == pytest.approx(1.5)
    assert row["p"] == pytest.approx(0.2048, abs=1e-3)  # t = 3 with one degree of freedom
    assert (row["wins"], row["pairs"]) == (2, 2)


def test_what_loses_to_random_stands_below_it() -> None:
    records = [
        record("worse", 0, [0.4, 0.4, 0.4]),
        record("random", 0, [0.5, 0.5, 0.5]),
        record("better", 0, [0.6, 0.6, 0.6]),
    ]
    first_cells = [
        line.split("|")[1].strip() for line in table(summarise(records)).splitlines()[2:5]
    ]
    assert first_cells == ["better", "**random**", "worse"]


def test_table_replaces_what_stood_between_the_markers(tmp_path: Path) -> None:
    docs = tmp_path / "page.md"
    start, end = "<!-- learning-curves: start -->", "<!-- learning-curves: end -->"
    docs.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    replace_table(docs, "new")
    replace_table(docs, "newer")
    assert docs.read_text() == f"before\n{start}\n\nnewer\n{end}\nafter\n"
    docs.write_text("no markers")
    with pytest.raises(ValueError, match=r"page\.md has no"):
        replace_table(docs, "new")


def test_more_seeds_for_some_are_paired_seed_by_seed() -> None:
    records = [
        record("random", 0, [0.5, 0.5, 0.5]),
        record("random", 1, [0.9, 0.9, 0.9]),
        record("few", 0, [0.6, 0.6, 0.6]),
        record("many", 0, [0.6, 0.6, 0.6]),
        record("many", 1, [0.9, 0.9, 0.9]),
    ]
    of_set = summarise(records)["sets"]["toy"]
    assert of_set["rows"]["few"]["deltas"] == pytest.approx([10.0])
    assert of_set["rows"]["many"]["deltas"] == pytest.approx([10.0, 0.0])
    assert "over 1 seeds (2 where there are more pairs)" in table(summarise(records))


def test_fresh_rows_take_the_place_of_kept_ones_and_the_others_stay() -> None:
    kept = summarise(
        [
            record("random", 0, [0.5, 0.5, 0.5]),
            record("changed", 0, [0.6, 0.6, 0.6]),
            record("untouched", 0, [0.7, 0.7, 0.7]),
            record("no longer there", 0, [0.8, 0.8, 0.8]),
        ]
    )
    fresh = summarise(
        [
            record("random", 0, [0.5, 0.5, 0.5]),
            record("changed", 0, [0.9, 0.9, 0.9]),
            record("new", 0, [0.4, 0.4, 0.4]),
        ]
    )
    both = merged(kept, fresh, ["untouched", "random", "changed", "new"])
    deltas = {label: row["delta"] for label, row in both["sets"]["toy"]["rows"].items()}
    assert deltas == pytest.approx({"untouched": 20, "random": 0, "changed": 40, "new": -10})
    assert both["overall"]["changed"]["delta"] == pytest.approx(40)


@pytest.mark.parametrize(
    "fresh",
    [
        [record("random", 0, [0.51, 0.51, 0.51])],  # other features, or another split
        [record("random", 0, [0.5, 0.5, 0.5]), record("random", 1, [0.5, 0.5, 0.5])],
        [{**record("random", 0, [0.5, 0.5, 0.5]), "set": "another"}],
    ],
)
def test_rows_whose_random_is_not_the_same_are_kept_apart(fresh: list[dict[str, Any]]) -> None:
    kept = summarise([record("random", 0, [0.5, 0.5, 0.5])])
    with pytest.raises(ValueError, match="run"):
        merged(kept, summarise(fresh), ["random"])


def test_the_headline_has_more_seeds_where_rankings_are_renewed() -> None:
    seeds = Seeds(first=100, n=2, headline=3)
    headline, other = Contender(HEADLINE[0], "uherding"), Contender("margin", "margin")
    assert list(seeds.of(RERANKED, headline)) == [100, 101, 102]
    assert list(seeds.of(ONCE, headline)) == [100, 101]
    assert list(seeds.of(RERANKED, other)) == [100, 101]
