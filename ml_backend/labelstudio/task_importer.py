"""Put images into a project as tasks, and find again what was put there.

Knows tasks, uploads and local files as Label Studio takes them. Each task carries the hash of its
image in its `meta`, which people do not see: a task can be found again by it where an answer was
lost. Knows no data source and no store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ml_backend.errors import ConfigurationError, LabelStudioError, LabelStudioUnreachable
from ml_backend.labelstudio.client import LabelStudioClient, reasons
from ml_backend.labelstudio.task_lists import TaskLists
from ml_backend.records import ChoiceControl

OURS = "active_labeler"  # the key in a task's meta
FILES_PER_UPLOAD = 50  # Label Studio refuses more than 100 in a request (Django's own limit)
REFUSED = frozenset({400})


@dataclass(frozen=True, slots=True)
class NewTask:
    """An image that is to become a task.

    `image_uri` is what Label Studio shows. `label` None: nobody has labeled it, or it is not to be
    shown. `data` stands beside the image in task.data, `meta` where people do not see it.
    """

    content_hash: str
    image_uri: str
    label: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)


class TaskImporter:
    """Imports into one project."""

    def __init__(self, client: LabelStudioClient, project_id: int, control: ChoiceControl) -> None:
        self._client = client
        self._project_id = project_id
        self._control = control
        self._lists = TaskLists(client, project_id)
        self._offered: list[Path] | None = None

    def created_at(self) -> str:
        """When the project was made, which tells it from an earlier one of the same number."""
        answer = self._client.get(f"/api/projects/{self._project_id}/", {"include": "created_at"})
        return str(answer["created_at"])

    def newest_task_id(self) -> int:
        """The highest task id of the project; 0 where it has no task."""
        newest = self._lists.first([], order="-tasks:id", limit=1, include="id")
        return int(newest[0]["id"]) if newest else 0

    def send(self, tasks: Sequence[NewTask]) -> dict[str, int]:
        """Make all of the tasks, or none; return their ids by content hash.

        Raises LabelStudioUnreachable where nobody can tell whether they were made: `find` them
        later. Raises LabelStudioError where they were refused.
        """
        body = [self._body(task) for task in tasks]
        path = f"/api/projects/{self._project_id}/import"
        answer = self._client.post(path, body, {"return_task_ids": "true"})
        ids = answer.get("task_ids")
        if ids is None:
            raise LabelStudioUnreachable("Label Studio imports in the background: nothing is known")
        if len(ids) != len(tasks):
            raise LabelStudioError(f"Label Studio made {len(ids)} tasks of {len(tasks)}")
        return {task.content_hash: task_id for task, task_id in zip(tasks, ids, strict=True)}

    def find(self, hashes: Collection[str], after: int) -> dict[str, int]:
        """Return the tasks of those images whose ids are above `after`, by content hash."""
        wanted, found = set(hashes), dict[str, int]()
        for page in self._lists.pages(include="id,meta", after=after):
            for raw in page:
                ours = (raw.get("meta") or {}).get(OURS)
                digest = ours.get("hash") if isinstance(ours, dict) else None
                if digest in wanted:
                    found.setdefault(digest, int(raw["id"]))
        return found

    def upload(self, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Store files (name, content) in Label Studio without making tasks of them.

        Returns their addresses, in order. Names are kept by Label Studio, with a prefix.
        """
        addresses: list[str] = []
        for start in range(0, len(files), FILES_PER_UPLOAD):
            addresses += self._upload(files[start : start + FILES_PER_UPLOAD])
        return addresses

    def offer_local_files(self, paths: Iterable[Path], document_root: Path) -> None:
        """See to it that Label Studio may show these files of its document root.

        Raises ConfigurationError with what the admin of Label Studio must set.
        """
        if self._offered is None:
            made = self._client.get("/api/storages/localfiles", {"project": self._project_id})
            self._offered = [Path(each["path"]) for each in made]
        folders = {path.parent for path in paths}
        missing = [each for each in folders if not _below(each, self._offered)]
        for folder in _fewest(missing, document_root):
            self._offer(folder)
            self._offered.append(folder)

    def _offer(self, folder: Path) -> None:
        wanted = {
            "project": self._project_id,
            "title": f"Images of {folder.name}"[:200],
            "path": str(folder),
            "use_blob_urls": True,
        }
        reply = self._client.send("POST", "/api/storages/localfiles", json=wanted, accept=REFUSED)
        if reply.status == 400:
            raise ConfigurationError(
                f"Label Studio shows no files of {folder}: {reasons(reply.body)[:400]}. Set "
                "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
                "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT where Label Studio runs, or upload the "
                "images (--upload)"
            )

    def _upload(self, files: Sequence[tuple[str, bytes]]) -> list[str]:
        path = f"/api/projects/{self._project_id}/import"
        made = self._client.send(
            "POST", path, params={"commit_to_project": "false"}, files=files
        ).body
        ids = sorted(made["file_upload_ids"])
        params = {"ids": json.dumps(ids)}
        stored = self._client.get(f"/api/projects/{self._project_id}/file-uploads", params)
        names = {each["id"]: str(each["file"]) for each in stored}
        if len(ids) != len(files) or set(ids) != set(names):
            raise LabelStudioError(f"Label Studio stored {len(names)} of {len(files)} files")
        prefix = urlsplit(self._client.url).path
        return [f"{prefix}/data/{quote(names[each])}" for each in ids]

    def _body(self, task: NewTask) -> dict[str, Any]:
        field_name = self._control.image_field
        body: dict[str, Any] = {
            "data": {**task.data, field_name: task.image_uri},
            "meta": {OURS: {"hash": task.content_hash, **task.meta}},
        }
        if task.label is not None:
            region = {
                "from_name": self._control.from_name,
                "to_name": self._control.to_name,
                "type": "choices",
                "value": {"choices": [task.label]},
            }
            # Label Studio takes imported annotations for ground truth unless it is told.
            body["annotations"] = [{"result": [region], "ground_truth": False}]
        return body


def local_files_address(path: Path, document_root: Path) -> str | None:
    """Return the address of a file below Label Studio's document root; None elsewhere.

    Links are followed, as Label Studio does before it looks where a file lies.
    """
    inside, root = Path(os.path.realpath(path)), Path(os.path.realpath(document_root))
    if not inside.is_relative_to(root):
        return None
    return f"/data/local-files/?d={quote(inside.relative_to(root).as_posix())}"


def _below(folder: Path, offered: Iterable[Path]) -> bool:
    return any(folder.is_relative_to(each) for each in offered)


def _fewest(folders: Collection[Path], document_root: Path) -> list[Path]:
    """Return one folder around all of them, or one a part of the root: never the root itself."""
    if not folders:
        return []
    around = Path(os.path.commonpath(folders))
    if around != document_root:
        return [around]
    parts = {each.relative_to(document_root).parts[:1] for each in folders}
    return [document_root.joinpath(*part) for part in sorted(parts)]
