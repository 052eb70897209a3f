"""Small label sets, and images that a few bytes describe."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ml_backend.errors import ImageUnreadable
from ml_backend.exporting.export import Wish, write_export
from ml_backend.exporting.pictures import ImageFiles
from ml_backend.exporting.records import FORMATS, LabeledImage, LabelSet, LeftOut
from ml_backend.records import ChoiceControl

THRESHOLD = 0.9
PNG = b"\x89PNG\r\n\x1a\n"


def image_bytes(task_id: int) -> bytes:
    return PNG + str(task_id).encode()


def image(
    task_id: int, label: str, confidence: float | None = None, **changes: Any
) -> LabeledImage:
    """A person's label, or the model's where there is a confidence."""
    made = LabeledImage(
        task_id=task_id,
        image_uri=f"/data/upload/1/abc-{task_id}.png",
        label=label,
        source="human" if confidence is None else "model",
        confidence=confidence,
        annotators=(7, 9) if confidence is None else (),
        split="train",
        content_hash=hashlib.sha256(image_bytes(task_id)).hexdigest(),
    )
    return replace(made, **changes)


def label_set(
    human: Sequence[LabeledImage] = (),
    model: Sequence[LabeledImage] = (),
    left_out: Sequence[LeftOut] = (),
    classes: Sequence[str] = ("cat", "dog"),
) -> LabelSet:
    return LabelSet(
        project={"id": 1, "title": "pets", "label_studio": "http://ls"},
        control=ChoiceControl("kind", "image", "picture", tuple(classes)),
        human=tuple(human),
        model=tuple(model),
        left_out=tuple(left_out),
        threshold=THRESHOLD,
        model_version="al-3",
        trust={"n": 0},
        model_card={"model": "pretrained"},
        learning_curve=(),
        made_at="2030-01-01T00:00:00+00:00",
        code_version="0.1.0",
    )


def pets() -> LabelSet:
    """Two labels by people, a sure and an unsure one of the model, and one task without any."""
    return label_set(
        human=[image(1, "cat"), image(2, "dog", split="holdout")],
        model=[image(3, "cat", 0.9), image(4, "dog", 0.899999)],
        left_out=[LeftOut(5, "/data/upload/1/abc-5.png", "its image cannot be read: cut off")],
    )


@dataclass
class FakeFiles:
    """Images that are fetched; those in `unreadable` fail, `local` are files on this machine."""

    unreadable: dict[int, str] = field(default_factory=dict)
    local: dict[str, Path] = field(default_factory=dict)
    content: dict[int, bytes] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)
    stop_before: int | None = None

    def read(self, task_id: int, _uri: str) -> bytes:
        if task_id == self.stop_before:
            raise ConnectionError("the server is gone")
        self.reads.append(task_id)
        if task_id in self.unreadable:
            raise ImageUnreadable(self.unreadable[task_id])
        return self.content.get(task_id, image_bytes(task_id))

    def files(self, *, links: bool = False) -> ImageFiles:
        return ImageFiles(self.read, self.local.get, links=links, workers=2)


def export(
    labels: LabelSet,
    target: Path,
    files: FakeFiles | None = None,
    *,
    formats: Sequence[str] = FORMATS,
    links: bool = False,
    **wish: bool,
) -> dict[str, int]:
    images = (files or FakeFiles()).files(links=links)
    wanted = Wish(formats=formats, **wish)
    return write_export(labels, target, wanted, images, lambda _what, _done, _total: None)


def below(folder: Path) -> dict[str, bytes]:
    """All files of a folder with what is in them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
