"""Exported files answer as the model does, carry what one must know, or are not there at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ml_backend.errors import ConfigurationError, ExportFailed
from ml_backend.learning import export
from ml_backend.learning.backbones import Backbone
from ml_backend.learning.export import Exported, export_model
from ml_backend.learning.head import Head
from ml_backend.learning.networks import feature_network
from ml_backend.learning.preprocessing import Preprocessing
from ml_backend.learning.scratch import train_scratch_backbone
from tests.unit.learning.pictures import noise

# torch itself calls TorchScript deprecated; a test that loads one says so too.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
FORMATS = ("torchscript", "pt2", "onnx")
CLASSES = ("cat", "dog", "never seen", "emu")


def needs(format: str) -> None:
    if format == "onnx":
        for module in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(module, reason=f"{module} is not installed")


def network_of(name: str, dim: int, variants: tuple[str, ...] = (), side: int = 64) -> Backbone:
    options: dict[str, Any] = {"image_size": side} if name.startswith("vit") else {}
    return Backbone(
        feature_network(name, options, variants, dim).eval().requires_grad_(False),
        Preprocessing(side + 8, side, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
        torch.device("cpu"),
        dim,
        "",
        False,
        name,
        options,
        variants,
    )


def head_of(dim: int, seed: int = 0) -> Head:
    """Knows cat, emu and dog; three labels of each, and none of the class between them."""
    random = np.random.default_rng(seed)
    return Head(
        n_classes=4,
        classes_seen_K=np.array([0, 3, 1]),
        label_counts_K=np.array([3, 3, 3]),
        centre_D=random.normal(size=dim).astype(np.float32),
        weights_DK=random.normal(size=(dim, 3)).astype(np.float32) * 10,
        bias_K=np.array([0.5, 0.0, -0.5], np.float32),
        temperature=1.7,
        calibrated_on=9,
        oof_accuracy=None,
    )


def load(exported: Exported) -> Any:
    return export._load(exported.file, exported.format)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_answers_as_the_model_for_any_number_of_pictures(
    format: str, tmp_path: Path
) -> None:
    needs(format)
    backbone = network_of("squeezenet1_1", 512)
    head = head_of(backbone.dim)
    pictures = [backbone.preprocess(noise(seed, (90, 70))) for seed in range(5)]
    exported = export_model(backbone, head, CLASSES, tmp_path, format, pictures=pictures)
    assert exported.max_difference < 1e-4
    assert exported.n_pictures == 5 + export.N_RANDOM_PICTURES
    answers = load(exported)(torch.stack(pictures).float() / 255)
    assert np.allclose(answers, head.probs(backbone.embed(pictures)), atol=1e-4)
    assert np.allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(answers[:, 2], 1 / 13, atol=1e-6)  # (0 + 1) / (9 labels + 4 classes)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == sorted([exported.file.name, f"{exported.file.name}.json"])


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("name", "dim", "variants"),
    [("vit_b_32", 768, ()), ("mobilenet_v2", 1280, ("padding=tensorflow",))],
)
def test_attention_and_tensorflows_padding_are_exported(
    format: str, name: str, dim: int, variants: tuple[str, ...], tmp_path: Path
) -> None:
    needs(format)
    backbone = network_of(name, dim, variants, side=64)
    exported = export_model(backbone, head_of(dim), CLASSES, tmp_path, format)
    assert exported.max_difference < 1e-4


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_trained_from_scratch_is_exported(format: str, tmp_path: Path) -> None:
    needs(format)
    pictures = [noise(seed) for seed in range(6)]
    backbone = train_scratch_backbone(pictures, tmp_path / "scratch", "cpu", seed=0)
    target = tmp_path / "out" / f"mine{export.SUFFIXES[format]}"
    exported = export_model(backbone, head_of(backbone.dim), CLASSES, target, format)
    assert (exported.file, exported.card_file) == (target, target.with_name(f"{target.name}.json"))


def test_the_card_says_what_comes_in_and_out(tmp_path: Path) -> None:
    backbone = network_of("squeezenet1_1", 512)
    exported = export_model(
        backbone, head_of(512), CLASSES, tmp_path, facts={"model": "0007-better"}
    )
    card = json.loads(exported.card_file.read_text())
    assert card["classes"] == list(CLASSES)
    assert card["input"]["shape"] == ["batch", 3, 64, 64]
    assert "the shorter side to 72 pixels" in card["preparation"][1]
    assert card["backbone"]["key"] == backbone.key
    assert card["model"] == "0007-better"
    assert card["agreement"]["max_difference"] == exported.max_difference
    inside = {export.CARD: ""}
    torch.jit.load(exported.file, _extra_files=inside)
    assert json.loads(inside[export.CARD])["classes"] == list(CLASSES)


def test_an_onnx_file_carries_its_card_too(tmp_path: Path) -> None:
    needs("onnx")
    import onnx

    exported = export_model(
        network_of("squeezenet1_1", 512), head_of(512), CLASSES, tmp_path, "onnx"
    )
    [props] = onnx.load(exported.file).metadata_props[-1:]
    assert json.loads(props.value)["classes"] == list(CLASSES)


class Fickle(nn.Module):
    """Answers by how many pictures come at once, which tracing takes for a constant."""

    def forward(self, pictures: Tensor) -> Tensor:
        means = pictures.mean(dim=(2, 3))
        return means.flip(1) if int(pictures.shape[0]) == 1 else means


def test_a_file_that_disagrees_is_not_left_behind(tmp_path: Path) -> None:
    plain = Preprocessing(4, 4, (0.0,) * 3, (1.0,) * 3)
    backbone = Backbone(Fickle(), plain, torch.device("cpu"), 3, "", False, "test")
    red = torch.zeros(3, 4, 4, dtype=torch.uint8)
    red[0] = 255
    (tmp_path / "model.pt").write_text("older")
    with pytest.raises(ExportFailed, match=r"at most 0\.0001 is accepted"):
        export_model(backbone, head_of(3), CLASSES, tmp_path, pictures=[red])
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    assert (tmp_path / "model.pt").read_text() == "older"


class Stubborn(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        raise NotImplementedError("no such operation")


def test_a_network_that_the_exporter_cannot_take_is_named_with_its_reason(tmp_path: Path) -> None:
    plain = Preprocessing(4, 4, (0.0,) * 3, (1.0,) * 3)
    backbone = Backbone(Stubborn(), plain, torch.device("cpu"), 3, "", False, "test")
    with pytest.raises(ExportFailed, match=r"cannot be exported as pt2: .*no such operation"):
        export_model(backbone, head_of(3), CLASSES, tmp_path, "pt2")


def test_what_cannot_be_exported_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = network_of("squeezenet1_1", 512)
    with pytest.raises(ConfigurationError, match="torchscript, pt2, onnx"):
        export_model(backbone, head_of(512), CLASSES, tmp_path, "caffe")
    with pytest.raises(ConfigurationError, match=r"a torchscript file ends in \.pt$"):
        export_model(backbone, head_of(512), CLASSES, tmp_path / "mine.onnx")
    with pytest.raises(ValueError, match="1 class names, but the head has 4"):
        export_model(backbone, head_of(512), ["cat"], tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'active-labeler\[onnx\]'"):
        export_model(backbone, head_of(512), CLASSES, tmp_path, "onnx")
    assert list(tmp_path.iterdir()) == []
