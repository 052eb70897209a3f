"""Weights of a network: from a local file, or from torchvision's server, once.

Knows file formats and the network. Never makes weights up: what cannot be had is an error that
says what to do.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import safetensors.torch
import torch
from torch import Tensor

from ml_backend.errors import WeightsUnavailable

DOWNLOAD_TIMEOUT_S = 30.0  # for each read, not for the whole file

WHAT_TO_DO = (
    "Set ACTIVE_LABELER_WEIGHTS to a local state dict (.pth or .safetensors), "
    "or ACTIVE_LABELER_BACKBONE=scratch to train a small network on the project's own images."
)


def is_file_name(weights: str) -> bool:
    """Tell a path from the name of a torchvision weights entry."""
    return weights.endswith((".pth", ".pt", ".safetensors")) or "/" in weights


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of tensors, plain or nested, real numbers as float32.

    A pickle may hold tensors and plain values, and nothing that would run code: there is no
    setting to trust one. Raises WeightsUnavailable.
    """
    if not path.is_file():
        raise WeightsUnavailable(f"weights={str(path)!r}: there is no such file. {WHAT_TO_DO}")
    try:
        if path.suffix == ".safetensors":
            read = safetensors.torch.load_file(path)
        else:
            read = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint = _as_float32(read)
    except Exception as error:  # a file of another kind makes unpicklers raise nearly anything
        raise WeightsUnavailable(_why_unreadable(path, error)) from error
    if not isinstance(checkpoint, dict) or not _holds_tensors(checkpoint):
        raise WeightsUnavailable(f"weights={str(path)!r}: expected a state dict (name -> tensor)")
    return checkpoint


def what_does_not_fit(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], shown: int = 5
) -> str:
    """Say by name which entries are missing, unexpected or of another shape; empty: none."""
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    shapes = [
        f"{name}: expected {tuple(expected[name].shape)}, found {tuple(state[name].shape)}"
        for name in sorted(expected.keys() & state.keys())
        if expected[name].shape != state[name].shape
    ]
    if not (missing or unexpected or shapes):
        return ""
    return (
        f"Missing: {some_of(missing, shown)}. Unexpected: {some_of(unexpected, shown)}. "
        f"Of another shape: {some_of(shapes, shown)}."
    )


def some_of(names: Sequence[str], shown: int) -> str:
    """List names, and count those beyond `shown`."""
    listed = ", ".join(names[:shown]) or "none"
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"


def download_once(url: str) -> None:
    """Put torchvision's file where torch.hub looks for it (TORCH_HOME), unless it is there.

    torch.hub would download it by itself, but without any timeout. Raises WeightsUnavailable.
    """
    name = Path(urlparse(url).path).name
    target = Path(torch.hub.get_dir()) / "checkpoints" / name
    if target.is_file():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / name
            _fetch(url, part)
            _check_promised_hash(part)
            part.replace(target)
    except OSError as error:  # URLError, a timeout, a full disk
        raise WeightsUnavailable(
            f"The weights could not be downloaded from {url} to {target}: {error}. {WHAT_TO_DO}"
        ) from error


def content_hash(state: Mapping[str, Tensor], *facts: object) -> str:
    """Hash weights by value, with the facts that also decide what comes out. 16 hex digits."""
    digest = hashlib.sha256(repr(facts).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _fetch(url: str, part: Path) -> None:
    if not url.startswith("https://"):
        raise WeightsUnavailable(f"{url}: weights are downloaded over https only")
    with (
        urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer,  # noqa: S310 - https
        part.open("wb") as file,
    ):
        shutil.copyfileobj(answer, file)


def _check_promised_hash(part: Path) -> None:
    """torchvision's file names end in the first digits of their SHA-256."""
    promised = part.stem.rpartition("-")[2]
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(promised):
        raise WeightsUnavailable(
            f"The download of {part.name} is damaged: its SHA-256 begins with {found[:8]}."
        )


def _as_float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {name: _as_float32(inner) for name, inner in value.items()}
    return value


def _holds_tensors(value: Mapping[Any, Any]) -> bool:
    return any(
        isinstance(inner, Tensor) or (isinstance(inner, Mapping) and _holds_tensors(inner))
        for inner in value.values()
    )


def _why_unreadable(path: Path, error: Exception) -> str:
    refused = re.search(r"GLOBAL (\S+) was not an allowed|Unsupported class (\S+)", str(error))
    if not refused:
        return f"weights={str(path)!r} cannot be read: {type(error).__name__}: {error}"
    return (
        f"weights={str(path)!r} holds Python objects ({refused[1] or refused[2]}) beside its "
        "tensors. Unpickling those can run any code, so it is not done here. Where you trust the "
        "file, save its tensors alone with safetensors.torch.save_file: docs/backbones.md has the "
        "lines."
    )
