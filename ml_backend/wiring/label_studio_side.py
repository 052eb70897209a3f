"""Label Studio as rounds and commands see it."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING

from ml_backend.errors import ConfigurationError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.settings import Settings

if TYPE_CHECKING:
    from ml_backend.jobs.store import ConnectedProject
    from ml_backend.labelstudio.images import ImageReader
    from ml_backend.records import ChoiceControl
    from ml_backend.steps.workbench import Side, Sides

# A queue asks once what writing costs on that server and project, which is a tenth of a small
# round; both may change, though not from round to round.
QUEUE_KEPT_S = 600.0


def label_studio(settings: Settings) -> LabelStudioClient:
    """Build the client that carries the token. Raises ConfigurationError without one."""
    api_key = settings.label_studio_api_key.get_secret_value()
    if not api_key:
        raise ConfigurationError(
            "LABEL_STUDIO_API_KEY is not set: create a personal access token in Label Studio under "
            "Account & Settings, and put it into the environment"
        )
    return LabelStudioClient(settings.label_studio_url, api_key, settings.request_timeout_s)


def label_studio_sides(settings: Settings) -> Sides:
    """Return `side(project)` of projects in Label Studio, which share one client."""
    from ml_backend.labelstudio.labeling_queue import LabelingQueue
    from ml_backend.labelstudio.projects import ProjectReader
    from ml_backend.steps.workbench import Side

    client = label_studio(settings)

    @lru_cache(maxsize=64)
    def queue(project_id: int, control: ChoiceControl, _period: int) -> LabelingQueue:
        return LabelingQueue(client, project_id, control)

    def side(project: ConnectedProject) -> Side:
        return Side(
            reader=ProjectReader(client, project.project_id),
            queue=queue(project.project_id, project.control, int(time.monotonic() // QUEUE_KEPT_S)),
            images=image_reader(settings, client),
        )

    return side


def image_reader(settings: Settings, client: LabelStudioClient) -> ImageReader:
    """Build what fetches task images."""
    from ml_backend.labelstudio.images import ImageReader

    return ImageReader(
        client,
        settings.local_files_here,
        max_bytes=settings.image_max_bytes,
        timeout_s=settings.image_timeout_s,
        allowed_hosts=settings.image_hosts,
        private_addresses=settings.image_private_addresses,
    )
