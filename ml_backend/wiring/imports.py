"""What an import works with, and sources that reach beyond this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from ml_backend.errors import ConfigurationError, LabelStudioNotFound, LabelStudioRefused
from ml_backend.importing import ImportBench, ReadingRules, begin
from ml_backend.jobs.import_lock import one_import
from ml_backend.jobs.store import ImportProject, Store
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.images import ImageReader
from ml_backend.labelstudio.labeling_config import parse_control
from ml_backend.labelstudio.new_project import config_of_classes, create_project
from ml_backend.labelstudio.projects import ProjectReader
from ml_backend.labelstudio.task_importer import TaskImporter
from ml_backend.project_source import ProjectSource
from ml_backend.records import ChoiceControl
from ml_backend.settings import Settings
from ml_backend.sources import Reach, Source
from ml_backend.sources import open_source as open_any
from ml_backend.sources.item import within
from ml_backend.wiring import image_reader, label_studio, project_folder, utc_now


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """The project that is imported into, as it is now."""

    project_id: int
    title: str
    control: ChoiceControl


def open_source(settings: Settings, spec: Mapping[str, Any]) -> Source:
    """Open a source that may read web addresses and other Label Studio projects.

    Asks Label Studio nothing for other sources. Raises ConfigurationError, LabelStudioError.
    """

    @cache
    def images() -> ImageReader:
        return image_reader(settings, label_studio(settings))

    def web(address: str, max_bytes: int) -> bytes:
        return within(images().read(0, address), max_bytes)

    def project(project: int, url: str | None = None, control: str | None = None) -> Source:
        return _project_source(settings, project, url, control)

    return open_any(spec, Reach(web=web, project=project))


def import_target(settings: Settings, project_id: int, control: str | None = None) -> ImportTarget:
    """Read the project that is imported into. Raises ConfigurationError, LabelStudioError."""
    client = label_studio(settings)
    edition = client.get("/api/version").get("edition", "Community")
    if edition != "Community":  # it answers before it has imported: nothing could be made sure of
        raise ConfigurationError(
            f"{settings.label_studio_url} is Label Studio {edition}, which imports in the "
            "background: only the Community edition is imported into"
        )
    facts = ProjectReader(client, project_id).facts()
    return ImportTarget(project_id, facts.title, parse_control(facts.label_config, control))


def new_project(settings: Settings, store: Store, title: str, classes: Sequence[str]) -> int:
    """Make a project that asks for one of the classes; return its id.

    Again with the same title: returns the one that was made before, so that an import that was
    stopped goes on. Raises ConfigurationError, LabelStudioError.
    """
    client = label_studio(settings)
    for before in store.import_projects():
        if before.label_studio_url == settings.label_studio_url and _is_still(
            client, before, title
        ):
            return before.project_id
    project_id = create_project(client, title, config_of_classes(classes))
    begin(import_bench_of(settings, store, import_target(settings, project_id)))
    return project_id


@contextmanager
def import_bench(
    settings: Settings, store: Store, target: ImportTarget, *, show_labels: bool
) -> Iterator[ImportBench]:
    """Yield what an import works with; nobody else imports into the project meanwhile."""
    with one_import(project_folder(settings, target.project_id)):
        yield import_bench_of(settings, store, target, show_labels=show_labels)


def import_bench_of(
    settings: Settings, store: Store, target: ImportTarget, *, show_labels: bool = True
) -> ImportBench:
    """Build what an import works with, without the lock."""
    client = label_studio(settings)
    return ImportBench(
        project_id=target.project_id,
        label_studio_url=settings.label_studio_url,
        store=store,
        importer=TaskImporter(client, target.project_id, target.control),
        now=utc_now,
        show_labels=show_labels,
        document_root=settings.local_files_root,
    )


def reading_rules(
    settings: Settings, *, upload: bool, upload_stored: bool = False, by_address: bool = False
) -> ReadingRules:
    """Pick out how images are read."""
    return ReadingRules(
        upload=upload,
        upload_stored=upload_stored,
        by_address=by_address,
        document_root=settings.local_files_root,
        max_bytes=settings.image_max_bytes,
        max_pixels=settings.image_max_pixels,
        workers=settings.fetch_workers,
    )


def is_ours(settings: Settings, url: str | None) -> bool:
    """Tell whether an address, None for none, is that of LABEL_STUDIO_URL."""
    return url is None or url.rstrip("/") == settings.label_studio_url


def _project_source(
    settings: Settings, project_id: int, url: str | None, control: str | None
) -> ProjectSource:
    if is_ours(settings, url):
        client, token = label_studio(settings), "LABEL_STUDIO_API_KEY"
    else:  # our own token must not go to a stranger
        token = "ACTIVE_LABELER_SOURCE_API_KEY"  # noqa: S105 - where it is, not what it is
        key = settings.source_api_key.get_secret_value()
        if not key:
            raise ConfigurationError(f"{token} is not set: {url} wants a token of its own")
        client = LabelStudioClient(str(url), key, settings.request_timeout_s)
    reader = ProjectReader(client, project_id)
    try:
        label_config = reader.facts().label_config
    except LabelStudioNotFound as error:
        raise LabelStudioNotFound(
            f"{client.url} has no project {project_id}, or none that the user of {token} may see"
        ) from error
    except LabelStudioRefused as error:
        raise LabelStudioRefused(
            f"{client.url} refuses the token in {token}: make one there (Account & Settings > "
            f"Personal Access Token) and set {token}"
        ) from error
    return ProjectSource(
        reader, image_reader(settings, client), parse_control(label_config, control)
    )


def _is_still(client: LabelStudioClient, before: ImportProject, title: str) -> bool:
    path = f"/api/projects/{before.project_id}/"
    try:
        found = client.get(path, {"include": "title,created_at"})
    except LabelStudioNotFound:
        return False
    return (found["title"], found["created_at"]) == (title, before.created_at)
