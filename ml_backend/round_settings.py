"""The settings of rounds: what comes next, how much of the pool is looked at, what is published.

Fields of `ml_backend.settings.Settings`, which reads them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from ml_backend.network_settings import NetworkSettings, known_as


class RoundSettings(NetworkSettings):
    """What can be set about rounds, with unit, default and reason."""

    # --- Ranking
    strategy: str = Field(
        "uherding",
        validation_alias=known_as("strategy"),
        description="Query strategy, by its name in strategies.STRATEGIES.",
    )
    uncertainty: Literal["least_confidence", "margin", "entropy", "random"] = Field(
        "margin",
        validation_alias=known_as("uncertainty"),
        description="How unsure the model is of a task, where the strategy uses it.",
    )
    strategy_parameters: dict[str, Any] = Field(
        {},
        validation_alias=known_as("strategy_parameters"),
        description="Parameters of the strategy, as a mapping (JSON in the environment), for "
        'example {"weight": 0.3, "mini_batch": 10}. strategies.STRATEGIES has those of each.',
    )
    class_balance: float = Field(
        0.0,
        ge=0,
        validation_alias=known_as("class_balance"),
        description="Above 0: tasks that the model takes for classes with few labels come sooner.",
    )
    initial_strategy: str = Field(
        "",
        validation_alias=known_as("initial_strategy"),
        description="Query strategy of the beginning. Empty: the strategy's own before the first "
        "label, which covers the pool where it can.",
    )
    initial_labels: int = Field(
        0,
        ge=0,
        validation_alias=known_as("initial_labels"),
        description="Labels that the initial strategy asks for, at least the first one.",
    )
    score_limit: int = Field(
        0,
        ge=0,
        validation_alias=known_as("score_limit"),
        description="Tasks of the pool, at most, that a round scores and ranks: a random sample, "
        "refilled as it is labeled. 0: all. Every image is embedded once in any case.",
    )

    rare_classes: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias=known_as("rare_classes"),
        description="Classes to look for by their few labeled examples (comma-separated). Names "
        "that a project does not have are passed over.",
    )
    similar_share: float = Field(
        0.0,
        ge=0,
        le=0.9,
        validation_alias=known_as("similar_share"),
        description="Share of the queue for the nearest neighbours of labeled `rare_classes`.",
    )

    # --- Publishing
    window: int = Field(
        200,
        ge=1,
        validation_alias=known_as("window"),
        description="Tasks of the queue's front that are kept written in Label Studio. Behind them "
        "Label Studio serves at random, so keep it well ahead of the annotators.",
    )
    front: int = Field(
        16,
        ge=1,
        validation_alias=known_as("front"),
        description="Tasks that are written before the queue is switched; the rest follows behind.",
    )
    labels_per_round: int = Field(
        1,
        ge=1,
        validation_alias=known_as("labels_per_round"),
        description="New labels before the queue is ordered anew. 1: after each, as far as rounds "
        "keep up, which is what teaches most. WINDOW must be as large.",
    )
    prelabel: bool = Field(
        True,
        validation_alias=known_as("prelabel"),
        description="Show the model's answer to annotators. People who see one tend to agree.",
    )
    reconcile_s: float = Field(
        60.0,
        gt=0,
        validation_alias=known_as("reconcile_s"),
        description="Seconds between two looks at Label Studio for what no webhook told.",
    )

    @field_validator("rare_classes", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("strategy_parameters", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        """Read JSON, which is how a flag can carry a mapping."""
        return json.loads(value or "{}") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _a_round_fits_the_window(self) -> RoundSettings:
        if self.labels_per_round > self.window:
            raise ValueError(
                f"labels_per_round={self.labels_per_round}: expected at most window={self.window}, "
                "behind which Label Studio serves at random"
            )
        return self
