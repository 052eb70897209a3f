"""What the admin's pages and the report work with.

Loads no torch: cards, appraisals and pictures are read without it, and what needs a network is
asked of the trainer.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ml_backend import wiring
from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.jobs.store import Store
from ml_backend.settings import Settings
from ml_backend.web.services import PageServices, WebServices

if TYPE_CHECKING:
    from ml_backend.labelstudio.images import ImageReader
    from ml_backend.wiring.model_desk import ModelDesk

KEY_FILE = "web-session.key"
KEY_BYTES = 32
PICTURE_TIMEOUT_S = 5.0  # somebody is looking at the page


def with_pages(settings: Settings, services: WebServices) -> WebServices:
    """Add the pages to what the web process answers."""
    return dataclasses.replace(services, pages=page_services(settings, services.store))


def page_services(settings: Settings, store: Store) -> PageServices:
    """Build what the pages work with."""

    def desk(project_id: int) -> ModelDesk:
        from ml_backend.wiring.model_desk import ModelDesk

        return ModelDesk(settings, store, project_id)

    return PageServices(
        session_key=session_key(settings.model_dir),
        models=lambda project_id: desk(project_id).rows(),
        card=lambda project_id, model: desk(project_id).card(model),
        compare=lambda project_id, one, other: desk(project_id).compare(one, other),
        doctor=partial(wiring.diagnose, settings, store),
        thumbnail=thumbnail_of(settings, store),
        links_url=settings.links_url,
    )


def session_key(folder: Path) -> bytes:
    """Return the key that signs sessions; make it where there is none, once for all workers.

    Raises ConfigurationError for a file that holds something else.
    """
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)  # unlike a rename, it never replaces what another worker made
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{path} is no key of {KEY_BYTES} bytes: delete it")
    return key


def thumbnail_of(settings: Settings, store: Store) -> Callable[[int, int], bytes]:
    """Return a function that gives a task's thumbnail; Label Studio is asked for new ones only."""
    from ml_backend.thumbnails import Thumbnails

    kept = Thumbnails(settings.model_dir / "thumbnails", settings.image_max_pixels)

    @cache
    def reader() -> ImageReader:
        hurried = settings.model_copy(
            update={"image_timeout_s": min(settings.image_timeout_s, PICTURE_TIMEOUT_S)}
        )
        return wiring.image_reader(hurried, wiring.label_studio(settings))

    def thumbnail(project_id: int, task_id: int) -> bytes:
        image = store.task_image(project_id, task_id)
        if image.unreadable is not None:
            raise ImageUnreadable(image.unreadable)
        return kept.of(image.content_hash, lambda: reader().read(task_id, image.image_uri))

    return thumbnail
