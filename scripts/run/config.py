"""What a run's YAML file can say: sections and keys, with type, default and reason.

A key that is a setting of the backend takes its default, limits and text from there. Knows nothing
of files: `config_file` reads them, `in_force` turns them into settings.
"""

from __future__ import annotations

from typing import Any, Literal, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator, model_validator

from ml_backend.errors import ConfigurationError
from ml_backend.learning.recipe import Recipe
from ml_backend.settings import Settings
from scripts.run.names import nearest
from scripts.run.source_options import KINDS, check_options
from strategies.table import STRATEGIES, find_strategy

LOCAL = "local"
UNCERTAINTIES: tuple[str, ...] = get_args(Settings.model_fields["uncertainty"].annotation)
FORMATS = ("csv", "folders", "label-studio", "coco", "huggingface")
# The query strategies that stand for the words of labeling.initial.
INITIAL = {"random": "random", "diverse": "maxherding", "similar": "similar"}
OF_THE_RECIPE = "See docs/fine-tuning.md."
# What the run itself decides; `settings` must not say otherwise.
OF_THE_RUN = frozenset({"label_studio_url", "label_studio_api_key", "model_dir", "host", "port"})


def setting(name: str, *, default: Any = ..., more: str = "") -> Any:
    """Make a key of a setting of the backend."""
    field = Settings.model_fields[name]
    limits = {
        limit: getattr(each, limit)
        for each in field.metadata
        for limit in ("ge", "gt", "le", "lt")
        if hasattr(each, limit)
    }
    return Field(
        field.default if default is ... else default,
        description=" ".join(filter(None, (field.description, more))),
        json_schema_extra={"setting": name},
        **limits,
    )


def as_value_error(check: Any, *arguments: Any) -> None:
    """Call a check of the backend; give its refusal to pydantic, which collects all of them."""
    try:
        check(*arguments)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


def section(description: str) -> Any:
    """Make a section that need not be written."""
    return Field(default_factory=dict, validate_default=True, description=description)


class Section(BaseModel):
    """A part of the file. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceOptions(BaseModel):
    """Where images come from: a kind, and its own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = Field(description="One of " + ", ".join(KINDS) + ".")

    @model_validator(mode="after")
    def _options_exist(self) -> SourceOptions:
        check_options(self.kind, self.model_extra or {})
        return self

    def spec(self) -> dict[str, Any]:
        """Return what `open_source` takes."""
        return {"kind": self.kind, **(self.model_extra or {})}


class Data(Section):
    """Which images are to be labeled, and what is known of them."""

    source: SourceOptions = Field(
        description="The images: `kind` and its options, which the tables below list."
    )
    classes: tuple[str, ...] = Field(
        (),
        description="The classes, in the order of their buttons. Empty: those of the known labels.",
    )
    known_labels: Literal["keep", "hide"] = Field(
        "keep",
        description="keep: labels of the source become annotations. hide: they are put aside, for "
        "an oracle (`--oracle`, `--offline`) and nobody else.",
    )
    holdout_share: float = setting("audit_share")
    score_limit: int = setting("score_limit")
    test_split: str = Field(
        "",
        description="Split of the source (its `split`) that is kept out of the project; the final "
        "model is measured on it.",
    )
    test: SourceOptions | None = Field(
        None,
        description="A separate test set, given like `source`; its labels must be known. It is "
        "never imported, and the final model is measured on it.",
    )

    @model_validator(mode="after")
    def _one_test_set(self) -> Data:
        if self.test and self.test_split:
            raise ValueError("test and test_split: expected one of the two")
        if self.classes and len(set(self.classes)) < 2:
            raise ValueError(f"classes={list(self.classes)}: expected two different ones at least")
        return self


class Project(Section):
    """The Label Studio project that people label in."""

    title: str = Field(
        "Active labeling", min_length=3, max_length=50, description="Title of a new project."
    )
    label_studio: str = Field(
        LOCAL,
        description="Address of a Label Studio (its token in LABEL_STUDIO_API_KEY), or `local`: "
        "one of the run's own, on this machine alone.",
    )
    number: int | None = Field(
        None, ge=1, description="An existing project, to import into. Empty: a new one."
    )
    upload: bool = Field(
        False,
        description="Upload the images into Label Studio. Otherwise they stay where they are, and "
        "Label Studio must be able to read them there.",
    )
    label_studio_port: int = Field(
        8080, ge=1, le=65535, description="Port of a local Label Studio; the next free one is used."
    )
    backend_port: int = setting("port", more="The next free one is used.")
    backend_url: str = Field(
        "",
        description="Where Label Studio reaches the backend. Empty: http://127.0.0.1 and the port, "
        "right for a Label Studio on this machine.",
    )

    @field_validator("label_studio")
    @classmethod
    def _local_or_address(cls, value: str) -> str:
        if value != LOCAL and not value.startswith(("http://", "https://")):
            raise ValueError(f"expected `{LOCAL}` or http(s)://..., got {value!r}")
        return value.rstrip("/")


class Target(Section):
    """When the run has done enough: at the first that is reached. Empty: when all is labeled."""

    labels: int | None = Field(None, ge=1, description="So many labeled images.")
    accuracy: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The accuracy on the holdout. Reached when the lower end of its 95 % interval "
        "is there, so that luck does not end a run.",
    )
    hours: float | None = Field(
        None, gt=0, description="So many hours that the run has been open, over all its starts."
    )


class Labeling(Section):
    """How people, or an oracle, label."""

    target: Target = section("When it is enough; the first that is reached.")
    rounds: int | None = Field(
        None,
        ge=1,
        description="Stop after so many rounds of `labels_per_round` labels, beside the initial.",
    )
    labels_per_round: int = setting("labels_per_round")
    initial: Literal["random", "diverse", "similar"] | None = Field(
        None,
        description="What is labeled first: random images, ones that cover the pool, or those that "
        "look most like one labeled example a class. Empty: the strategy's own beginning.",
        json_schema_extra={"setting": "initial_strategy"},
    )
    initial_labels: int = setting("initial_labels")
    examples: dict[str, str] = Field(
        {},
        description="One image a class that is labeled before anything else: class to the image's "
        "key in the source (its relative path).",
    )
    prelabel: bool = setting("prelabel")
    window: int = setting("window")

    @model_validator(mode="after")
    def _examples_are_there(self) -> Labeling:
        if self.initial == "similar" and not self.examples:
            raise ValueError("initial: similar needs examples, one image a class")
        return self

    def initial_count(self) -> int:
        """Return how many labels the beginning asks for."""
        if self.initial == "similar" and not self.initial_labels:
            return len(self.examples) + self.labels_per_round
        return self.initial_labels

    def most_labels(self) -> int | None:
        """Return after how many labels to stop by `target.labels` and `rounds`."""
        by_rounds = self.rounds and self.initial_count() + self.rounds * self.labels_per_round
        return min((each for each in (self.target.labels, by_rounds) if each), default=None)


class StrategySection(Section):
    """Which image comes next."""

    name: str = setting("strategy", more="One of " + ", ".join(STRATEGIES) + ".")
    uncertainty: str = setting("uncertainty", more="One of " + ", ".join(UNCERTAINTIES) + ".")
    parameters: dict[str, Any] = setting("strategy_parameters")
    class_balance: float = setting("class_balance")

    @field_validator("name")
    @classmethod
    def _strategy_exists(cls, value: str) -> str:
        if value not in STRATEGIES:
            raise ValueError(f"there is no strategy {nearest(value, STRATEGIES)}")
        return value

    @field_validator("uncertainty")
    @classmethod
    def _uncertainty_exists(cls, value: str) -> str:
        if value not in UNCERTAINTIES:
            raise ValueError(f"there is no uncertainty {nearest(value, UNCERTAINTIES)}")
        return value

    @model_validator(mode="after")
    def _parameters_fit(self) -> StrategySection:
        as_value_error(find_strategy(self.name).check, self.parameters)
        return self


_HINTS = get_type_hints(Recipe)


class _Training(Section):
    """How the network itself is trained, where it is not frozen (docs/fine-tuning.md)."""

    @model_validator(mode="after")
    def _can_work(self) -> _Training:
        as_value_error(lambda: Recipe(**self.model_dump()))
        return self


# Every key of the recipe, by the table in docs/fine-tuning.md.
_KEYS: dict[str, Any] = {
    name: (_HINTS[name], Field(each.default, description=OF_THE_RECIPE))
    for name, each in Recipe.__dataclass_fields__.items()
    if name != "seed"
}
Training: Any = create_model("Training", __base__=_Training, **_KEYS)


class Model(Section):
    """The network that looks at the images."""

    backbone: str = setting("backbone")
    weights: str = setting("weights")
    frozen: bool | None = Field(
        None,
        description="true: the network stays as it is, and only the head on its embeddings learns. "
        "false: it is trained, too, when there is enough new. Empty: trained where there is a GPU.",
        json_schema_extra={"setting": "fine_tune"},
    )
    train_after_labels: int = setting("fine_tune_after_labels")
    train_after_growth: float = setting("fine_tune_after_growth")
    training: Training = Field(
        default_factory=dict,
        validate_default=True,
        description="How the network is trained where it is not frozen.",
        json_schema_extra={"setting": "fine_tune_recipe"},
    )
    input_size_px: int | None = setting("input_size_px")
    input_resize_px: int | None = setting("input_resize_px")
    device: str = setting("device")
    batch_size: int = setting("batch_size")
    seed: int = setting("seed")


class Export(Section):
    """What is written at the end: human labels, and the model's for everything else, apart."""

    formats: tuple[Literal[FORMATS], ...] = Field(  # type: ignore[valid-type]
        ("csv",), description="Any of " + ", ".join(FORMATS) + "."
    )
    threshold: float = Field(
        0.9, ge=0, le=1, description="Least confidence of a model's label that counts as one."
    )
    folder: str = Field("export", description="Where it goes. It is replaced by the next export.")
    files: Literal["links", "copies"] = Field(
        "copies", description="Images in class folders: copies, or links to files of this machine."
    )


class RunConfig(Section):
    """A whole run."""

    data: Data = Field(description="Which images are to be labeled, and what is known of them.")
    project: Project = section("The Label Studio project.")
    labeling: Labeling = section("How people label.")
    strategy: StrategySection = section("Which image comes next.")
    model: Model = section("The network.")
    export: Export = section("What is written at the end.")
    settings: dict[str, Any] = Field(
        {}, description="Any other setting of docs/settings.md, by its name in the file."
    )

    @field_validator("settings")
    @classmethod
    def _settings_exist(cls, given: dict[str, Any]) -> dict[str, Any]:
        free = [name for name in Settings.model_fields if name not in OF_THE_RUN]
        for name in given:
            if name in OF_THE_RUN:
                raise ValueError(f"{name} is the run's own: see the section project")
            if name not in free:
                raise ValueError(f"there is no setting {nearest(name, free)}")
        return given
