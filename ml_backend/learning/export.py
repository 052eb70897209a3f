"""One file from pictures to class probabilities, for use without this project.

Knows torch's exporters. The file holds normalisation, network and head; what comes before, reading
and cropping, is said in the JSON beside it and inside it. Nothing is left behind that was not
loaded again and found to agree with the model it was made of.

TorchScript is what most programs can load today, and torch calls it deprecated; `pt2`
(torch.export) is what it recommends instead. ONNX needs no torch at all where it is used.
"""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from numpy.typing import NDArray
from torch import Tensor, nn

from ml_backend.errors import ConfigurationError, ExportFailed
from ml_backend.learning.backbones import Backbone
from ml_backend.learning.head import Head

SUFFIXES = {"torchscript": ".pt", "pt2": ".pt2", "onnx": ".onnx"}
CARD = "card.json"  # its name inside the file
INPUT, OUTPUT = "pictures", "probabilities"
N_RANDOM_PICTURES = 8
_EXAMPLES = 2  # a batch of one would be taken for a constant
_TINY = 1e-30  # an embedding at the head's centre has no direction, and stays 0


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how far it is from the model in the project."""

    file: Path
    card_file: Path
    format: str
    max_difference: float  # of a probability, over all pictures that were compared
    n_pictures: int


class Exportable(nn.Module):
    """RGB pictures (B, 3, S, S) in 0..1 to probabilities (B, C)."""

    mean: Tensor
    std: Tensor
    centre_D: Tensor
    weights_DK: Tensor
    bias_K: Tensor
    seen_KC: Tensor
    unseen_C: Tensor

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        network = copy.deepcopy(backbone.network).cpu()
        self.network = network.to(memory_format=torch.contiguous_format)
        # What a head answers to anything: classes that had no label get their share of it.
        unseen_C = head.probs(np.zeros((1, backbone.dim), np.float32))[0]
        unseen_C[head.classes_seen_K] = 0.0
        seen_KC = np.zeros((len(head.classes_seen_K), head.n_classes), np.float32)
        seen_KC[np.arange(len(head.classes_seen_K)), head.classes_seen_K] = 1.0 - unseen_C.sum()
        constants = {
            "mean": np.reshape(backbone.preprocessing.mean, (-1, 1, 1)),
            "std": np.reshape(backbone.preprocessing.std, (-1, 1, 1)),
            "centre_D": head.centre_D,
            "weights_DK": head.weights_DK / np.float32(head.temperature),
            "bias_K": head.bias_K / np.float32(head.temperature),
            "seen_KC": seen_KC,
            "unseen_C": unseen_C,
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(np.asarray(value, np.float32)))

    def forward(self, pictures_B3SS: Tensor) -> Tensor:
        """Normalise, embed, and ask the head."""
        features_BD = self.network((pictures_B3SS - self.mean) / self.std).flatten(1)
        centred_BD = features_BD - self.centre_D
        lengths_B1 = centred_BD.square().sum(dim=1, keepdim=True).sqrt()
        scaled_BD = centred_BD / lengths_B1.clamp(min=_TINY)
        seen_BK = F.softmax(scaled_BD @ self.weights_DK + self.bias_K, dim=1)
        return seen_BK @ self.seen_KC + self.unseen_C


def export_model(
    backbone: Backbone,
    head: Head,
    classes: Sequence[str],
    target: Path,
    format: str = "torchscript",
    *,
    pictures: Sequence[Tensor] = (),
    tolerance: float = 1e-4,
    facts: Mapping[str, Any] | None = None,
) -> Exported:
    """Write `target` (a file, or a folder to hold model.pt, .pt2 or .onnx) and its JSON card.

    `pictures` are preprocessed ones (uint8, 3 x S x S) to compare on; random ones are added.
    `facts` go into the card. What is there is replaced, once the new file has proved to agree.

    Raises ExportFailed above `tolerance` of a probability, ConfigurationError for a format that
    does not exist or is not installed.
    """
    if format not in SUFFIXES:
        raise ConfigurationError(f"format={format!r}: expected one of {', '.join(SUFFIXES)}")
    if len(classes) != head.n_classes:
        raise ValueError(f"{len(classes)} class names, but the head has {head.n_classes} classes")
    file = _file_of(target, format)
    compared = [*pictures, *_random_pictures(backbone.preprocessing.crop_px)]
    # A GPU computes convolutions in TF32, which differs by more than the tolerance.
    network = copy.deepcopy(backbone.network).cpu()
    backbone = replace(backbone, network=network, device=torch.device("cpu"))
    card = _card(backbone, classes, format, facts or {})
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".unfinished-") as folder:
        part = Path(folder) / file.name
        with _exporter_of(format):
            _write(Exportable(backbone, head).eval(), compared, card, format, part)
            run = _load(part, format)
        difference = _greatest_difference(run, backbone, head, compared)
        if not difference <= tolerance:  # also where it is not a number
            raise ExportFailed(
                f"The {format} file differs from the model by {difference:.2g} in a probability; "
                f"at most {tolerance:.2g} is accepted. Nothing was written to {file}."
            )
        card["agreement"] = {"max_difference": difference, "n_pictures": len(compared)}
        text = Path(folder) / "card"
        text.write_text(json.dumps(card, indent=1), "utf-8")
        part.replace(file)
        text.replace(file.with_name(f"{file.name}.json"))
    return Exported(file, file.with_name(f"{file.name}.json"), format, difference, len(compared))


def _file_of(target: Path, format: str) -> Path:
    suffix = SUFFIXES[format]
    if target.suffix in set(SUFFIXES.values()) - {suffix} and not target.is_dir():
        raise ConfigurationError(f"{target}: a {format} file ends in {suffix}")
    return target if target.suffix == suffix else target / f"model{suffix}"


def _card(
    backbone: Backbone,
    classes: Sequence[str],
    format: str,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    preprocessing, side = backbone.preprocessing, backbone.preprocessing.crop_px
    return {
        "format": format,
        "classes": list(classes),
        "input": {
            "name": INPUT,
            "shape": ["batch", 3, side, side],
            "dtype": "float32",
            "range": [0.0, 1.0],
            "channels": "RGB",
            "normalisation": "inside the model",
        },
        "preparation": [
            "decode to RGB, turned upright by its EXIF orientation, transparency on white",
            f"resize with antialiasing ({preprocessing.resampling.name.lower()}, as Pillow does), "
            f"the shorter side to {preprocessing.resize_px} pixels",
            f"crop the centre, {side} x {side} pixels",
            "divide by 255",
        ],
        "output": {"name": OUTPUT, "shape": ["batch", len(classes)], "dtype": "float32"},
        "backbone": {"key": backbone.key, **backbone.facts},
        "torch": str(torch.__version__),
        **facts,
    }


def _random_pictures(side: int) -> list[Tensor]:
    """Make noise, coarse and fine, and two plain pictures."""
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.zeros(3, side, side), torch.ones(3, side, side)]
    for row in range(N_RANDOM_PICTURES - len(pictures)):
        cells = min(side, 2 ** (row + 1))
        coarse = torch.rand(1, 3, cells, cells, generator=generator)
        pictures.append(F.interpolate(coarse, size=(side, side))[0])
    return [(picture * 255).round().to(torch.uint8) for picture in pictures]


def _write(
    model: Exportable,
    pictures: Sequence[Tensor],
    card: Mapping[str, Any],
    format: str,
    part: Path,
) -> None:
    example = (torch.stack(list(pictures[:_EXAMPLES])).float() / 255,)
    batch = {"pictures_B3SS": {0: torch.export.Dim("batch")}}
    inside = json.dumps(card)
    if format == "torchscript":
        jit: Any = torch.jit  # untyped
        traced = jit.trace(model, example, check_trace=False)
        jit.save(traced, part, _extra_files={CARD: inside})
    elif format == "pt2":
        program = torch.export.export(model, example, dynamic_shapes=batch)
        torch.export.save(program, part, extra_files={CARD: inside})
    else:
        _write_onnx(model, example, batch, inside, part)


def _write_onnx(
    model: Exportable, example: tuple[Tensor], batch: dict[str, Any], inside: str, part: Path
) -> None:
    onnx = _of_extra("onnx", "onnx")
    _of_extra("onnxscript", "onnx")  # torch's exporter asks for it
    torch.onnx.export(
        model,
        example,
        part,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=batch,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    saved = onnx.load(part)
    onnx.helper.set_model_props(saved, {CARD: inside})
    onnx.checker.check_model(saved)
    onnx.save(saved, part)


def _load(part: Path, format: str) -> Callable[[Tensor], NDArray[np.float32]]:
    """Load as a user of the file would: pictures in 0..1 to probabilities."""
    if format == "onnx":
        session = _of_extra("onnxruntime", "onnx").InferenceSession(
            str(part), providers=["CPUExecutionProvider"]
        )
        return lambda pictures: np.asarray(session.run(None, {INPUT: pictures.numpy()})[0])
    jit: Any = torch.jit  # untyped
    loaded: Any = jit.load(part) if format == "torchscript" else torch.export.load(part).module()

    def run(pictures: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(loaded(pictures).numpy())

    return run


def _greatest_difference(
    run: Callable[[Tensor], NDArray[np.float32]],
    backbone: Backbone,
    head: Head,
    pictures: Sequence[Tensor],
) -> float:
    """Compare over batches of several lengths, one among them."""
    worst = 0.0
    for batch in _batches(pictures):
        expected_BC = head.probs(backbone.embed(batch))
        found_BC = run(torch.stack(batch).float() / 255)
        if found_BC.shape != expected_BC.shape:
            return float("inf")
        worst = float(np.maximum(worst, np.abs(found_BC - expected_BC).max()))  # keeps a NaN
    return worst


def _batches(pictures: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    yield list(pictures[:1])
    for start in range(1, len(pictures), 16):
        yield list(pictures[start : start + 16])


def _of_extra(module: str, extra: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise ConfigurationError(
            f"format='onnx' needs {module}, which is not installed: "
            f"pip install 'active-labeler[{extra}]'"
        ) from error


@contextmanager
def _exporter_of(format: str) -> Iterator[None]:
    """Keep torch's warnings back, and bring its errors, which are of many kinds, to one.

    The warnings say that TorchScript is deprecated and that sizes become constants; so do the
    header above and the card.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ConfigurationError:
            raise
        except Exception as error:
            raise ExportFailed(
                f"The model cannot be exported as {format}: {type(error).__name__}: {error}"
            ) from error
