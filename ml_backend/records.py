"""What crosses the borders between packages: plain frozen dataclasses.

Knows nothing: no HTTP, no database, no torch, no Label Studio. `labelstudio`, `learning`, `jobs`
and `web` hand these to one another through `rounds`, and import nothing else of each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ChoiceControl:
    """The one `<Choices choice="single">` of a labeling config that the model learns.

    `classes` are the values that Label Studio stores in `value.choices` (a choice's alias where it
    has one, its value otherwise), in the order of the config.
    """

    from_name: str
    to_name: str
    image_field: str  # the key of task.data that holds the image, from value="$image"
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """A Label Studio task as far as we need it."""

    task_id: int
    image_uri: str  # unresolved, as it stands in task.data; "" where the field is missing


@dataclass(frozen=True, slots=True)
class Annotation:
    """One person's answer to one task. A skip has `was_cancelled` and no choice."""

    annotation_id: int
    task_id: int
    annotator_id: int | None
    choice: str | None  # None: skipped, or the control was left empty
    was_cancelled: bool = False
    ground_truth: bool = False


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One task's place in the labeling queue, with its prelabel.

    `place` counts from 0 (wanted first) over the whole pool of `pool_size` tasks. `choice` None
    publishes the place without a prelabel. `confidence` is the calibrated probability of `choice`.
    `again` marks a labeled task that is wanted for a second opinion.
    """

    task_id: int
    place: int
    pool_size: int
    choice: str | None = None
    confidence: float | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class ModelPrediction:
    """What the last round's model says about one image, for /predict and `why`."""

    choice: str | None
    confidence: float | None
    model_version: str


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A hint that something changed in Label Studio. Ids only: the content is read from the API."""

    action: str
    project_id: int
    task_ids: tuple[int, ...] = ()
    annotation_ids: tuple[int, ...] = ()
    received_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`. `state` is one of ok, warning, failure."""

    check: str
    state: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """The settings of a Label Studio project that we change, as they were found, for `detach`."""

    sampling: str
    model_version: str
    show_collab_predictions: bool
    evaluate_predictions_automatically: bool
    extra: dict[str, object] = field(default_factory=dict)
