"""The people and the project of the demo's Label Studio, each made once."""

from __future__ import annotations

from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import track

from scripts.demonstration.images import DemoImages, labeling_config, numbered_copies
from scripts.demonstration.memory import ANNOTATOR, USERNAME, Memory, remember
from scripts.local_label_studio import (
    FILES_PER_UPLOAD,
    LocalLabelStudio,
    create_project,
    create_user,
    mint_personal_access_token,
    signed_in,
    upload_images,
)


def furnish(
    studio: LocalLabelStudio, folder: Path, memory: Memory, images: DemoImages, console: Console
) -> None:
    """Make what is still missing of token, annotator, project and tasks; remember each step."""
    if not memory.access_token:
        memory.access_token = mint_personal_access_token(studio.url, USERNAME, memory.password)
        remember(folder, memory)
    if not memory.annotator_made:
        admin = (USERNAME, memory.password)
        create_user(studio.url, admin, ANNOTATOR, memory.annotator_password, "Oracle")
        memory.annotator_made = True
        remember(folder, memory)
    with signed_in(studio.url, USERNAME, memory.password) as client:
        if not memory.project_id:
            title = f"Active labeling of {Path(memory.images).name}"
            memory.project_id = create_project(client, title, labeling_config(images.classes))
            remember(folder, memory)
        if not memory.uploaded:
            _upload(client, folder, memory, images, console)


def _upload(
    client: httpx.Client, folder: Path, memory: Memory, images: DemoImages, console: Console
) -> None:
    """Upload what is still missing. Each request is all or nothing, so the count tells how far."""
    there = int(client.get(f"/api/projects/{memory.project_id}").json()["task_number"])
    files = numbered_copies(images, folder / "images")[there:]
    starts = range(0, len(files), FILES_PER_UPLOAD)
    for start in track(starts, f"Uploading {len(files)} images ...", console=console):
        upload_images(client, memory.project_id, files[start : start + FILES_PER_UPLOAD])
    memory.uploaded = True
    remember(folder, memory)
