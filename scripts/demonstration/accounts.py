"""The people and the project of the demo's Label Studio, each made once."""

from __future__ import annotations

from pathlib import Path

import httpx
from rich.progress import track

from scripts.demonstration.images import labeling_config, numbered_copies
from scripts.demonstration.memory import ANNOTATOR, USERNAME
from scripts.demonstration.stage import Stage
from scripts.local_label_studio import (
    FILES_PER_UPLOAD,
    create_project,
    create_user,
    mint_personal_access_token,
    signed_in,
    upload_images,
)


def furnish(stage: Stage) -> None:
    """Make what is still missing of token, annotator, project and tasks; remember each step."""
    memory, url = stage.memory, stage.studio.url
    if not memory.access_token:
        memory.access_token = mint_personal_access_token(url, USERNAME, memory.password)
        stage.remember()
    if not memory.annotator_made:
        admin = (USERNAME, memory.password)
        create_user(url, admin, ANNOTATOR, memory.annotator_password, "Oracle")
        memory.annotator_made = True
        stage.remember()
    if not memory.uploaded:
        with signed_in(url, USERNAME, memory.password) as client:
            _make_project(client, stage)
            _upload(client, stage)


def _make_project(client: httpx.Client, stage: Stage) -> None:
    if not stage.memory.project_id:
        title = f"Active labeling of {Path(stage.memory.images).name}"
        config = labeling_config(stage.images.classes)
        stage.memory.project_id = create_project(client, title, config)
        stage.remember()


def _upload(client: httpx.Client, stage: Stage) -> None:
    """Upload what is still missing. Each request is all or nothing, so the count tells how far."""
    project_id = stage.memory.project_id
    there = int(client.get(f"/api/projects/{project_id}").json()["task_number"])
    files = numbered_copies(stage.images, stage.folder / "images")[there:]
    starts = range(0, len(files), FILES_PER_UPLOAD)
    for start in track(starts, f"Uploading {len(files)} images", console=stage.console):
        upload_images(client, project_id, files[start : start + FILES_PER_UPLOAD])
    stage.memory.uploaded = True
    stage.remember()
