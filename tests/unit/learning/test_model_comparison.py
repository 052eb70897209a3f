"""Two cards side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ml_backend.learning.evaluation import evaluate
from ml_backend.learning.model_card import ModelCard
from ml_backend.learning.registry import compare

BASE = ModelCard(
    name="0001-base",
    kind="pretrained",
    parent=None,
    created_at="2026-11-22T10:00:00+00:00",
    project_id=7,
    backbone_key="abc",
    backbone_facts={"architecture": "resnet18"},
    classes=("Hund", "Katze"),
)


def tuned(right: int, n: int, **more: object) -> ModelCard:
    """Make the card of a fine-tuned model, right on so many of n dogs."""
    predicted_H = (np.arange(n) >= right).astype(int)
    found = evaluate(np.eye(2)[predicted_H], np.zeros(n, int), BASE.classes)
    card = replace(BASE, name="0002-tuned", kind="fine-tuned", parent=BASE.name)
    return replace(card, holdout_metrics=found.as_dict(), **more)  # type: ignore[arg-type]


def rows(a: ModelCard, b: ModelCard) -> dict[str, tuple[str, str]]:
    return {row["what"]: (row["a"], row["b"]) for row in compare(a, b)["rows"]}


def test_measures_stand_side_by_side_with_their_intervals() -> None:
    found = rows(tuned(6, 10), tuned(8, 10))
    assert found["accuracy"] == ("60.0 % [31, 83]", "80.0 % [49, 94]")
    assert found["recall of Hund"] == found["accuracy"]
    assert found["recall of Katze"] == ("–", "–")


def test_what_one_has_not_is_a_dash() -> None:
    found = rows(BASE, tuned(8, 10))
    assert found["accuracy"] == ("–", "80.0 % [49, 94]")
    assert found["parent"] == ("–", "0001-base")


def test_only_settings_that_differ_are_shown() -> None:
    one = tuned(6, 10, recipe={"epochs": 3, "seed": 1})
    other = tuned(6, 10, recipe={"epochs": 5, "seed": 1})
    found = rows(one, other)
    assert found["setting epochs"] == ("3", "5")
    assert "setting seed" not in found


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (tuned(6, 10), tuned(6, 12), "Measured on 10 and on 12 holdout labels"),
        (BASE, replace(BASE, classes=("Hund",)), "different classes"),
        (BASE, replace(BASE, holdout={"share": 0.1}), "drawn differently"),
    ],
)
def test_what_makes_it_unfair_is_said(a: ModelCard, b: ModelCard, said: str) -> None:
    [warning] = compare(a, b)["warnings"]
    assert said in warning


def test_a_card_compared_with_itself_differs_in_nothing() -> None:
    found = compare(tuned(6, 10), tuned(6, 10))
    assert not any(row["differs"] for row in found["rows"])
    assert found["warnings"] == []
    json.dumps(found, allow_nan=False)
