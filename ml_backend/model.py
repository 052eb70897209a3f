"""The model, in the shape that Label Studio's own backends have.

`label-studio-ml` (2.x) builds one instance per request and calls `predict` and `fit`. Where that
package is installed this class is a real subclass, and `label-studio-ml start` can host it; where
it is not, the class stands alone with the same interface. Either way it only delegates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ml_backend import wiring
from ml_backend.settings import load_settings
from ml_backend.web.webhooks import ACTIONS, parse_event

try:
    from label_studio_ml.model import LabelStudioMLBase as _Base
except ImportError:

    class _Base:  # type: ignore[no-redef]
        """Stands in for LabelStudioMLBase: keeps what it is built with."""

        def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
            self.project_id = project_id or ""
            self.label_config = label_config


class ActiveLabelerModel(_Base):  # type: ignore[misc]
    """Predicts from the last round; a fit asks the trainer for a round and returns at once."""

    def predict(
        self,
        tasks: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,  # noqa: ARG002 - part of the interface
        **_: object,
    ) -> list[dict[str, Any]]:
        """Return one prediction a task."""
        services = wiring.web_services(load_settings())
        return services.predict(_number(self.project_id), tasks)

    def fit(self, event: str, data: Mapping[str, Any], **_: object) -> None:
        """Hand a webhook's event to the store. Training happens in the trainer's process."""
        services = wiring.web_services(load_settings())
        received = parse_event({**data, "action": event}, _number(self.project_id))
        if received.action in ACTIONS:  # a later Label Studio may have more
            services.store.receive(received, datetime.now(UTC))


def _number(project_id: str) -> int:
    """Return 7 from Label Studio's "7.1700000000"."""
    return int(str(project_id).split(".", maxsplit=1)[0])
