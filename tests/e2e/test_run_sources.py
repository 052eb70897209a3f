"""`active-labeler run --oracle` on a small set of each other kind, to an export that is right.

Folders and tables are in test_run.py. Each set is written by the format's own library. Run them by
`scripts/test -m long`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml_backend.sources.pngs import png_of
from scripts.local_label_studio import free_port
from tests.e2e.runs import Typed, find_the_export_right, kill, truth
from tests.few_digits import CLASSES, copy_first
from tests.label_studio_server import TestServer

pytestmark = [
    pytest.mark.label_studio,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # of the formats' own libraries
]

IMAGES_A_CLASS, LABELS = 18, 20
MNIST_CLASSES = {"1": "1 - one", "4": "4 - four", "7": "7 - seven"}  # as torchvision calls them


@pytest.fixture
def typed(few_digits: Path, tmp_path: Path) -> Typed:
    """A folder with digits beside what is typed there, and nothing kept outside of it."""
    copy_first(few_digits, tmp_path / "digits", IMAGES_A_CLASS)
    return Typed(tmp_path, {"HF_HOME": str(tmp_path / "huggingface")})


def library(name: str, extra: str) -> Any:
    """Import what an extra brings along; CI has them all."""
    if os.environ.get("CI"):
        return import_module(name)
    return pytest.importorskip(name, reason=f"the extra {extra!r} is not installed")


def files_of(folder: Path) -> list[Path]:
    """The digits, with the classes mixed."""
    return sorted(folder.glob("*/*.png"), key=lambda file: file.name)


def as_tfds(folder: Path) -> str:
    library("array_record", "tfds")
    tfds = library("tensorflow_datasets", "tfds")

    class Digits(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc]
        """Digits in one split."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Image(shape=(None, None, 1)),
                "label": tfds.features.ClassLabel(names=list(CLASSES)),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, _manager: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for file in files_of(folder / "digits"):
                image = io.BytesIO(file.read_bytes())
                yield file.name, {"image": image, "label": file.parent.name}

    builder = Digits(data_dir=str(folder / "prepared"), file_format="array_record")
    builder.download_and_prepare()
    version = Path(str(builder.data_dir)).relative_to(folder)
    return f"{{kind: tfds, path: {version}}}"


def as_saved_by_huggingface(folder: Path) -> str:
    datasets = library("datasets", "huggingface")
    files = files_of(folder / "digits")
    columns = {
        "picture": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "digit": [CLASSES.index(file.parent.name) for file in files],
    }
    types = {"picture": datasets.Image(), "digit": datasets.ClassLabel(names=list(CLASSES))}
    data = datasets.Dataset.from_dict(columns, features=datasets.Features(types))
    datasets.DatasetDict({"train": data}).save_to_disk(str(folder / "saved"))
    return "{kind: huggingface, path: saved}"


def as_image_folder_of_huggingface(folder: Path) -> str:
    library("datasets", "huggingface")
    shutil.copytree(folder / "digits", folder / "pictures" / "train")
    return "{kind: huggingface, path: pictures}"


def as_files_by_address(folder: Path) -> str:
    return f"{{kind: fsspec, url: 'file://{folder / 'digits'}'}}"


@pytest.mark.parametrize(
    "formats",
    [
        (as_tfds, as_files_by_address),
        (as_saved_by_huggingface, as_image_folder_of_huggingface),
    ],
)
def test_files_of_two_formats_are_labeled_by_runs_that_start_at_once_on_the_same_ports(
    formats: tuple[Callable[[Path], str], ...], typed: Typed
) -> None:
    port, runs = free_port(), []
    for write in formats:
        folder = typed.folder / write.__name__
        shutil.copytree(typed.folder / "digits", folder / "digits")
        one = replace(typed, folder=folder)
        one.configure(write(folder), LABELS, port=port)
        runs.append(one)
    with ExitStack() as whatever_happens:
        begun = [(one, one.start("--oracle", "--pace", "0")) for one in runs]
        for _, process in begun:
            whatever_happens.callback(kill, process)
        for one, process in begun:
            told = one.end_of(process)
            assert f"{LABELS} images are labeled, {LABELS} were wanted" in told
            find_the_export_right(one, LABELS, truth(one.folder / "digits"))
            assert one.nothing_runs()


def idx_file(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write an array as MNIST's files are."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())
    with gzip.open(f"{path}.gz", "wb") as packed:
        packed.write(path.read_bytes())


def test_arrays_of_torchvision_are_labeled(typed: Typed) -> None:
    files = files_of(typed.folder / "digits")
    pictures_NHW = np.stack([np.asarray(Image.open(file)) for file in files])
    for half in ("train", "t10k"):
        raw = typed.folder / "sets" / "MNIST" / "raw"
        idx_file(raw / f"{half}-images-idx3-ubyte", pictures_NHW)
        digits_N = np.array([int(file.parent.name) for file in files])
        idx_file(raw / f"{half}-labels-idx1-ubyte", digits_N)
    typed.configure("{kind: torchvision, name: MNIST, root: sets}", LABELS)

    typed.to_the_end("--oracle", "--pace", "0")

    hashes = [hashlib.sha256(png_of(picture_HW)).hexdigest() for picture_HW in pictures_NHW]
    names = [MNIST_CLASSES[file.parent.name] for file in files]
    find_the_export_right(typed, LABELS, dict(zip(hashes, names, strict=True)))


def test_what_people_labeled_in_another_project_is_labeled(
    typed: Typed, label_studio: TestServer
) -> None:
    choices = "".join(f'<Choice value="{name}"/>' for name in CLASSES)
    config = (
        '<View><Image name="image" value="$image"/>'
        f'<Choices name="digit" toName="image" choice="single">{choices}</Choices></View>'
    )
    project = label_studio.project("digits that people labeled", config)
    files = {file.name: file for file in files_of(typed.folder / "digits")}
    for task_id in label_studio.uploaded(project, list(files.values())):
        task = label_studio.http.get(f"/api/tasks/{task_id}/").json()
        file = files[task["data"]["image"].partition("-")[2]]
        label_studio.annotate(task_id, file.parent.name, control="digit")
    typed.environment["ACTIVE_LABELER_SOURCE_API_KEY"] = label_studio.personal_access_token
    typed.configure(
        f"{{kind: label_studio, project: {project}, url: '{label_studio.url}'}}", LABELS
    )

    typed.to_the_end("--oracle", "--pace", "0")

    find_the_export_right(typed, LABELS, truth(typed.folder / "digits"))
