"""timm's models under timm:NAME, with timm's own preprocessing; no download is ever made up for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from ml_backend.errors import ConfigurationError, WeightsUnavailable
from ml_backend.learning.backbones import Backbone, load_backbone, rebuild_backbone
from ml_backend.learning.preprocessing import InputChanges
from tests.unit.learning.pictures import noise


def test_without_timm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'active-labeler\[timm\]'"):
        load_backbone("timm:resnet18", "DEFAULT", "cpu", seed=0)


timm = pytest.importorskip("timm", reason="timm is not installed")


def random_state(name: str, **options: object) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dict(timm.create_model(name, pretrained=False, **options).state_dict())


def load_state(
    name: str, state: dict[str, Tensor], folder: Path, inputs: InputChanges | None = None
) -> Backbone:
    whole = {key: tensor.contiguous() for key, tensor in state.items()}
    safetensors.torch.save_file(whole, folder / "weights.safetensors")
    file = str(folder / "weights.safetensors")
    return load_backbone(f"timm:{name}", file, "cpu", seed=0, inputs=inputs or InputChanges())


def load(name: str, folder: Path) -> Backbone:
    return load_state(name, random_state(name), folder)


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("resnet10t", 512),
        ("mobilenetv3_small_050", 1024),  # num_features is 288: a layer follows the pooling
        ("vit_tiny_patch16_224", 192),
        ("convnext_atto", 320),
        ("tf_efficientnet_b0", 1280),
    ],
)
def test_a_file_gives_pooled_features_and_is_rebuilt(name: str, dim: int, tmp_path: Path) -> None:
    backbone = load(name, tmp_path)
    embeddings = backbone.embed([backbone.preprocess(noise(n)) for n in range(2)])
    assert (embeddings.shape, backbone.dim) == ((2, dim), dim)
    assert backbone.facts["source"] == "timm"
    again = rebuild_backbone(backbone.facts, backbone.network.state_dict(), "cpu")
    assert again.key == backbone.key
    assert np.array_equal(again.embed([again.preprocess(noise(0))]), embeddings[:1])


def test_embeddings_are_what_timm_gives_its_classifier(tmp_path: Path) -> None:
    backbone = load("resnet10t", tmp_path)
    network = timm.create_model("resnet10t", pretrained=False).eval()
    network.load_state_dict(random_state("resnet10t"))
    pixels = backbone.preprocess(noise(0))
    with torch.inference_mode():
        inputs = backbone.preprocessing.normalise(pixels[None])
        expected = network.forward_head(network.forward_features(inputs), pre_logits=True)
    assert np.allclose(backbone.embed([pixels]), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "convnext_atto.d2_in1k",  # 224 of 256, bicubic
        "vit_base_patch16_clip_224.openai",  # CLIP's own colours
        "vit_tiny_patch16_224.augreg_in21k",  # -1..1
    ],
)
def test_preprocessing_is_timms_own(name: str, tmp_path: Path) -> None:
    from ml_backend.learning import timm_models

    network = timm_models.build(f"timm:{name}", {})
    ours = timm_models.preprocessing_of(f"timm:{name}", network)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    smooth = noise(0, (9, 7)).resize((400, 300), Image.Resampling.BICUBIC)
    difference = ours.normalise(ours.apply(smooth)[None])[0] - theirs(smooth)
    assert difference.abs().mean() < 0.017


def test_weights_of_another_number_of_classes_or_none_are_taken(tmp_path: Path) -> None:
    state = random_state("resnet10t", num_classes=3)
    own = load_state("resnet10t", state, tmp_path)
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert load_state("resnet10t", bare, tmp_path).key == own.key


def test_another_input_size_is_built_where_positions_depend_on_it(tmp_path: Path) -> None:
    state = random_state("vit_tiny_patch16_224", img_size=96)
    backbone = load_state("vit_tiny_patch16_224", state, tmp_path, InputChanges(size_px=96))
    assert backbone.embed([backbone.preprocess(noise(0))]).shape == (1, 192)
    assert backbone.facts["options"] == {"img_size": 96}
    again = rebuild_backbone(backbone.facts, backbone.network.state_dict(), "cpu")
    assert again.key == backbone.key


def test_names_and_tags_that_do_not_exist_are_answered() -> None:
    with pytest.raises(ConfigurationError, match=r"no such model; near it are .*resnet18"):
        load_backbone("timm:resnet_18", "DEFAULT", "cpu", seed=0)
    with pytest.raises(ConfigurationError, match="no_such_tag"):
        load_backbone("timm:resnet18.no_such_tag", "DEFAULT", "cpu", seed=0)
    with pytest.raises(WeightsUnavailable, match="go by the model's tag"):
        load_backbone("timm:resnet18", "IMAGENET1K_V1", "cpu", seed=0)


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # read from the environment at import
    with pytest.raises(WeightsUnavailable, match=r"timm:resnet18.*BACKBONE=scratch"):
        load_backbone("timm:resnet18", "DEFAULT", "cpu", seed=0)
