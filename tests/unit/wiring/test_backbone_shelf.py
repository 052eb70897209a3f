"""From settings alone to a backbone: presets, own input, and the kinds of weights people have."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn

from ml_backend.errors import ConfigurationError, WeightsUnavailable
from ml_backend.learning.backbones import Backbone, load_backbone
from ml_backend.learning.images import decode
from ml_backend.settings import Settings, load_settings
from ml_backend.wiring.backbone_shelf import Backbones, pictures
from tests.loop import Loop
from tests.unit.learning.pictures import noise

SHARED = Path(
    os.environ.get("ACTIVE_LABELER_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")
)
WEIGHTS = SHARED / "weights"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no weights under {SHARED}")

FROM_TENSORFLOW = {
    "backbone": "mobilenet_v2",
    "weights": str(WEIGHTS / "mobilenet_v2_tf2_torchvision_fp16.pth"),
    "input_mean": "0.5",
    "input_std": "0.5",
    "input_resize_px": 256,
    "convolution_padding": "tensorflow",
}


def backbone_of(**settings: object) -> Backbone:
    return Backbones(load_settings(device="cpu", **settings)).of(0, lambda: ())


def photos(backbone: Backbone, n: int) -> list[torch.Tensor]:
    """Preprocess the first photo of each class."""
    files = sorted((SHARED / "clothing160").glob("*/*.jpg"))[:: 160 // n][:n]
    return [backbone.preprocess(decode(file.read_bytes(), 10**7)) for file in files]


def test_the_default_is_fast_with_its_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIVE_LABELER_BACKBONE", raising=False)
    settings = load_settings()
    assert (settings.backbone, settings.weights) == ("fast", "DEFAULT")


def test_a_network_of_ones_own_says_why_no_picture_of_the_project_can_be_read(
    tmp_path: Path,
) -> None:
    loop = Loop(tmp_path)
    loop.images.unreadable = dict.fromkeys(loop.server.add_tasks(3), "its storage is missing")
    loop.ask()
    loop.run()
    project = loop.store.get_project(loop.project_id)
    assert project is not None

    with pytest.raises(ConfigurationError, match=r"none of the project's 3 .* storage is missing"):
        list(pictures(loop.store, project, loop.images, 0, lambda *_: None))


def test_input_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVE_LABELER_INPUT_MEAN", "0.1, 0.2,0.3")
    monkeypatch.setenv("ACTIVE_LABELER_INPUT_STD", "0.5")
    monkeypatch.setenv("ACTIVE_LABELER_INPUT_SIZE_PX", "")
    settings = Settings()
    assert settings.input_mean == (0.1, 0.2, 0.3)
    assert settings.input_std == (0.5, 0.5, 0.5)
    assert settings.input_size_px is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_std": "0"},
        {"input_mean": "1,2"},
        {"input_mean": "red"},
        {"convolution_padding": "odd"},
        {"input_size_px": 3},
    ],
)
def test_input_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        load_settings(**wrong)


@needs_weights
@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("squeezenet1_1", "squeezenet1_1_caffe_fp16.pth", "e25d8d33675e4efd"),
        ("squeezenet1_0", "squeezenet1_0_deepcomp_fp16.pth", "0fe406a43ecbd359"),
        ("mobilenet_v2", "mobilenet_v2_tf2_torchvision_fp16.pth", "a22a9adb579e0ef8"),
    ],
)
def test_embeddings_that_were_cached_by_version_0_1_0_keep_their_key(
    name: str, file: str, key: str
) -> None:
    assert backbone_of(backbone=name, weights=str(WEIGHTS / file)).key == key


@needs_weights
def test_weights_converted_from_tensorflow_equal_the_original_in_half_precision() -> None:
    backbone = backbone_of(**FROM_TENSORFLOW)
    pixels = photos(backbone, 4)
    # The file holds halves, and batch norm's epsilon of 1e-5 beside a variance of 1.
    expected = embed_by(original().half().float(), pixels)
    assert np.abs(backbone.embed(pixels) - expected).max() < 2e-3
    plain = backbone_of(**FROM_TENSORFLOW | {"convolution_padding": "torch"})
    assert np.abs(plain.embed(pixels) - expected).max() > 1
    assert plain.key != backbone.key


@needs_weights
@pytest.mark.parametrize("size_px", [224, 200, 97])  # even all the way down, and odd on the way
def test_tensorflows_padding_is_exact_at_any_size(tmp_path: Path, size_px: int) -> None:
    """The original's weights under torchvision's names, in full precision."""
    network, state = original(), dict(load_state("mobilenet_v2"))
    names = [name.removesuffix(".weight") for name, tensor in state.items() if tensor.ndim == 4]
    for name, layer in zip(names, convolutions(network), strict=True):
        parent, _, row = name.rpartition(".")
        norm = f"{parent}.{int(row) + 1}"
        assert layer.bias is not None
        state |= {f"{name}.weight": layer.weight.detach(), f"{norm}.bias": layer.bias.detach()}
        state |= {f"{norm}.running_var": torch.full_like(layer.bias, 1 - 1e-5).detach()}
    torch.save(state, tmp_path / "exact.pth")
    backbone = backbone_of(
        **FROM_TENSORFLOW | {"weights": str(tmp_path / "exact.pth"), "input_size_px": size_px}
    )
    pixels = photos(backbone, 2)
    assert np.abs(backbone.embed(pixels) - embed_by(network, pixels)).max() < 1e-4


def original() -> Any:
    """Load the network as it was published, by the loader that lies beside it."""
    spec = importlib.util.spec_from_file_location("original", WEIGHTS / "mobilenet_v2_tf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(WEIGHTS / "mobilenet_v2_tf2_int8.npz")


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def embed_by(network: Any, pixels: list[torch.Tensor]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(network.embed(torch.stack(pixels).float() / 127.5 - 1).numpy())


@needs_weights
@pytest.mark.parametrize("preset", ["balanced", "best"])
def test_a_file_of_another_network_than_the_presets_is_refused(preset: str) -> None:
    with pytest.raises(WeightsUnavailable, match="Missing"):
        backbone_of(backbone=preset, weights=FROM_TENSORFLOW["weights"])


def load_state(name: str = "mobilenet_v3_small") -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dict(torchvision.models.get_model(name, weights=None).state_dict())


def test_fast_is_the_network_that_was_the_default_before(tmp_path: Path) -> None:
    torch.save(load_state(), tmp_path / "weights.pth")
    by_preset = backbone_of(backbone="fast", weights=str(tmp_path / "weights.pth"))
    by_name = load_backbone("mobilenet_v3_small", str(tmp_path / "weights.pth"), "cpu", seed=0)
    assert by_preset.key == by_name.key
    assert by_preset.description.startswith("mobilenet_v3_small with pretrained weights")


def test_the_input_can_be_set_and_the_cropped_share_stays(tmp_path: Path) -> None:
    torch.save(load_state(), tmp_path / "weights.pth")
    backbone = backbone_of(
        weights=str(tmp_path / "weights.pth"), input_size_px=112, input_interpolation="bicubic"
    )
    assert (backbone.preprocessing.crop_px, backbone.preprocessing.resize_px) == (112, 128)
    assert backbone.preprocessing.resampling.name == "BICUBIC"
    assert backbone.preprocess(noise(0)).shape == (3, 112, 112)
