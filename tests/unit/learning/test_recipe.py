"""Settings of a fine-tune: what cannot work is refused by name."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from ml_backend.errors import ConfigurationError
from ml_backend.learning.recipe import Recipe


def test_a_recipe_goes_through_json_unchanged() -> None:
    recipe = Recipe(trained="last_stage", augment="overhead", seed=7)
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("trained", "everything", "one of head, last_stage, all"),
        ("augment", "heavy", "one of none, light, photo, overhead"),
        ("epochs", 0, "1 to 10,000"),
        ("epochs", 2.5, "a whole number"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("layer_decay", 1.2, "at most 1"),
        ("ema_decay", 1.0, "below 1"),
        ("validation_share", 0.6, "to 0.5"),
        ("seed", -1, "0 to"),
        ("freeze_norm", "yes", "true or false"),
        ("class_balance", True, "one of none"),
        ("optimizer", "adam", "one of adamw, sgd"),
        ("loss", "hinge", "one of cross_entropy, focal"),
        ("focal_gamma", -1.0, "to 10"),
    ],
)
def test_what_cannot_work_is_refused_by_name_value_and_range(
    field: str, value: object, expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected) as refusal:
        Recipe(**{field: value})  # type: ignore[arg-type]
    assert f"{field}={value!r}" in str(refusal.value)
