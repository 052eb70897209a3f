"""The settings of networks: which one, how its input is made, when and how it is trained.

Fields of `ml_backend.settings.Settings`, which reads them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode


def known_as(name: str, *, bare: bool = False) -> Any:
    """Name a field in the environment and in the file: bare for the names that users know."""
    return AliasChoices(name.upper() if bare else f"ACTIVE_LABELER_{name.upper()}", name)


class NetworkSettings(BaseSettings):
    """What can be set about networks, with unit, default and reason."""

    # --- Learning
    backbone: str = Field(
        "fast",
        validation_alias=known_as("backbone"),
        description="`fast`, `balanced`, `best` or `scratch` (docs/backbones.md), a torchvision "
        "classification model by its name, or `timm:NAME` where timm is installed.",
    )
    weights: str = Field(
        "DEFAULT",
        validation_alias=known_as("weights"),
        description="A torchvision weights name, or the path of a checkpoint (.safetensors, .pth): "
        "a classifier's or a self-supervised encoder's. DEFAULT: the preset's, or the library's.",
    )
    input_size_px: int | None = Field(
        None,
        ge=16,
        validation_alias=known_as("input_size_px"),
        description="Side of the square that the network sees, in pixels. Empty, here and below: "
        "as the weights' own transforms have it (for a file: those of the model's DEFAULT).",
    )
    input_resize_px: int | None = Field(
        None,
        ge=16,
        validation_alias=known_as("input_resize_px"),
        description="Length of the shorter side before that square is cut out, in pixels.",
    )
    input_mean: Annotated[tuple[float, float, float] | None, NoDecode] = Field(
        None,
        validation_alias=known_as("input_mean"),
        description="What is taken from red, green and blue in 0..1 (comma-separated; one number "
        "stands for all three). 0.5 with INPUT_STD 0.5 scales to -1..1, as TensorFlow's do.",
    )
    input_std: Annotated[tuple[float, float, float] | None, NoDecode] = Field(
        None,
        validation_alias=known_as("input_std"),
        description="What red, green and blue are then divided by.",
    )
    input_interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"] | None = Field(
        None,
        validation_alias=known_as("input_interpolation"),
        description="How images are resized: bilinear, bicubic, lanczos or nearest.",
    )
    convolution_padding: Literal["torch", "tensorflow"] = Field(
        "torch",
        validation_alias=known_as("convolution_padding"),
        description="`tensorflow` for weights converted from there: strided convolutions then pad "
        "at the bottom and the right (`SAME`) instead of on all sides.",
    )
    device: str = Field(
        "auto",
        validation_alias=known_as("device"),
        description="auto, cpu, cuda or cuda:N. auto takes a GPU where there is one.",
    )
    batch_size: int = Field(
        32,
        ge=1,
        validation_alias=known_as("batch_size"),
        description="Images per forward pass when embedding.",
    )
    fetch_workers: int = Field(
        4,
        ge=1,
        validation_alias=known_as("fetch_workers"),
        description="Threads that fetch and decode images ahead of the network.",
    )
    seed: int = Field(
        0,
        ge=0,
        validation_alias=known_as("seed"),
        description="Seed of everything random.",
    )

    # --- Measuring and fine-tuning
    audit_share: float = Field(
        0.1,
        ge=0,
        le=0.5,
        validation_alias=known_as("audit_share"),
        description="Share of the images that are drawn at random to measure models on. They are "
        "served at that pace, without a prelabel, and never trained on. Fixed for a project when "
        "it is connected; 0: no model can be measured or promoted by a test.",
    )

    fine_tune: Literal["auto", "on", "ask"] = Field(
        "auto",
        validation_alias=known_as("fine_tune"),
        description="When the network itself is trained: auto, by itself where there is a GPU; on, "
        "by itself on a CPU too; ask, only by command or Label Studio's Start Training (which "
        "work in any case).",
    )
    fine_tune_after_labels: int = Field(
        100,
        ge=1,
        validation_alias=known_as("fine_tune_after_labels"),
        description="New labels, at least, before the network is trained by itself again.",
    )
    fine_tune_after_growth: float = Field(
        0.25,
        ge=0,
        validation_alias=known_as("fine_tune_after_growth"),
        description="The same as a share of the labels that the last fine-tune had; both must be.",
    )
    fine_tune_start: Literal["pretrained", "champion"] = Field(
        "pretrained",
        validation_alias=known_as("fine_tune_start"),
        description="What a fine-tune starts from: the configured weights each time, or the model "
        "that orders the queue (quicker, and keeps what old labels taught it).",
    )
    fine_tune_recipe: dict[str, Any] = Field(
        {},
        validation_alias=known_as("fine_tune_recipe"),
        description="How it is trained, as a mapping (JSON in the environment), for example "
        '{"trained": "last_stage", "epochs": 5, "augment": "overhead"}. docs/fine-tuning.md has '
        "all keys.",
    )
    models_keep: int = Field(
        3,
        ge=1,
        validation_alias=known_as("models_keep"),
        description="Newest fine-tuned models that are kept, beside the best and the one in force.",
    )
    models_max_bytes: int = Field(
        5 * 2**30,
        gt=0,
        validation_alias=known_as("models_max_bytes"),
        description="Disk space for a project's fine-tuned models. The best and the one in force "
        "stay in any case.",
    )
    tensorboard: bool = Field(
        False,
        validation_alias=known_as("tensorboard"),
        description="Write fine-tunes to MODEL_DIR/tensorboard, too. Needs the extra tensorboard.",
    )
    mlflow_tracking_uri: str = Field(
        "",
        validation_alias=known_as("mlflow_tracking_uri", bare=True),
        description="Log fine-tunes to this MLflow server, too. Needs the extra mlflow.",
    )

    @field_validator("fine_tune_recipe", mode="before")
    @classmethod
    def _mapping(cls, value: object) -> object:
        """Read JSON, which is how a flag can carry a mapping."""
        return json.loads(value or "{}") if isinstance(value, str) else value

    @field_validator("input_mean", "input_std", mode="before")
    @classmethod
    def _three_numbers(cls, value: object) -> object:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, int | float):
            value = [value]
        if isinstance(value, list) and len(value) <= 1:
            return tuple(value * 3) or None
        return value
