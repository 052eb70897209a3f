"""Networks as embedders: any torchvision classifier, weights from a file, no silent substitutes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from ml_backend.errors import ConfigurationError, CorruptFile, WeightsUnavailable
from ml_backend.learning.backbones import (
    Backbone,
    choose_device,
    load_backbone,
    rebuild_backbone,
)
from ml_backend.learning.images import decode
from ml_backend.learning.preprocessing import Preprocessing
from ml_backend.learning.scratch import load_scratch_backbone, train_scratch_backbone
from ml_backend.learning.torchvision_models import drop_last_layer
from tests.unit.learning.pictures import noise

SHARED = Path(
    os.environ.get("ACTIVE_LABELER_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")
)
needs_squeezenet = pytest.mark.skipif(
    not (SHARED / "weights").is_dir(), reason=f"no SqueezeNet weights under {SHARED}"
)


def random_state(name: str, seed: int = 0, **options: int) -> dict[str, Tensor]:
    """Make a state dict of the right shape, as a stand-in for trained weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return dict(network.state_dict())


@pytest.fixture(scope="module")
def mobilenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mobilenet.pth"
    torch.save(random_state("mobilenet_v3_small"), path)
    return path


def load(name: str, path: Path) -> Backbone:
    return load_backbone(name, str(path), "cpu", seed=0)


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("resnet18", 512),
        ("mobilenet_v2", 1280),
        ("mobilenet_v3_small", 1024),
        ("efficientnet_b0", 1280),
        ("convnext_tiny", 768),
        ("vit_b_32", 768),
        ("squeezenet1_1", 512),
        ("densenet121", 1024),
        ("regnet_y_400mf", 440),
        ("swin_t", 768),
        ("shufflenet_v2_x0_5", 1024),
        ("mnasnet0_5", 1280),
    ],
)
def test_what_the_last_layer_was_given_is_the_embedding(name: str, dim: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = torchvision.models.get_model(name, weights=None).eval()
        side_px = 224 if name.startswith("vit") else 64
        pictures = torch.rand(2, 3, side_px, side_px)
    given: list[Tensor] = []
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    layers[-1].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.inference_mode():
        network(pictures)
        assert drop_last_layer(network) == dim
        embeddings = network(pictures).flatten(1)
    expected = given[0] if given[0].ndim == 2 else given[0].mean(dim=(2, 3))
    assert embeddings.shape == (2, dim)
    assert torch.allclose(embeddings, expected, atol=1e-5)


def test_a_batch_gives_each_picture_the_embedding_it_has_alone(mobilenet_file: Path) -> None:
    backbone = load("mobilenet_v3_small", mobilenet_file)
    pictures = [backbone.preprocess(noise(seed, (40, 30))) for seed in range(3)]
    together = backbone.embed(pictures)
    assert (together.shape, together.dtype) == ((3, backbone.dim), np.float32)
    assert np.allclose(together[1], backbone.embed(pictures[1:2])[0], atol=1e-4)


def test_the_key_follows_weights_and_not_where_they_lie(
    tmp_path: Path, mobilenet_file: Path
) -> None:
    key = load("mobilenet_v3_small", mobilenet_file).key
    state = random_state("mobilenet_v3_small")
    safetensors.torch.save_file(state, tmp_path / "same.safetensors")
    assert load("mobilenet_v3_small", tmp_path / "same.safetensors").key == key
    state["features.0.0.weight"][0, 0, 0, 0] += 1
    torch.save(state, tmp_path / "other.pth")
    assert load("mobilenet_v3_small", tmp_path / "other.pth").key != key
    int(key, 16)


def test_a_backbone_is_rebuilt_from_its_facts_and_state(mobilenet_file: Path) -> None:
    built = load("mobilenet_v3_small", mobilenet_file)
    facts = json.loads(json.dumps(built.facts))
    again = rebuild_backbone(facts, built.network.state_dict(), "cpu", "again")
    assert (again.key, again.dim, again.description) == (built.key, built.dim, "again")
    assert (again.facts, again.preprocessing) == (facts, built.preprocessing)
    picture = built.preprocess(noise(0))
    assert np.array_equal(again.embed([picture]), built.embed([picture]))


@pytest.mark.parametrize("name", ["vit_b_32", "googlenet", "inception_v3", "squeezenet1_1"])
def test_builders_with_options_of_their_own_are_rebuilt(tmp_path: Path, name: str) -> None:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    torch.save(random_state(name, **options), tmp_path / "weights.pth")
    built = load(name, tmp_path / "weights.pth")
    assert rebuild_backbone(built.facts, built.network.state_dict(), "cpu").key == built.key


def test_a_scratch_backbone_is_rebuilt_too(tmp_path: Path) -> None:
    built = train_scratch_backbone([noise(n) for n in range(5)], tmp_path / "s", "cpu", seed=0)
    again = rebuild_backbone(built.facts, built.network.state_dict(), "cpu")
    assert (again.key, again.pretrained) == (built.key, False)


def test_a_state_or_facts_that_do_not_fit_are_refused_by_name(mobilenet_file: Path) -> None:
    built = load("mobilenet_v3_small", mobilenet_file)
    state = built.network.state_dict()
    del state["features.0.0.weight"]
    with pytest.raises(CorruptFile, match=r"Missing: features\.0\.0\.weight\. Unexpected: none"):
        rebuild_backbone(built.facts, state, "cpu")
    for wrong in ({}, {**built.facts, "format": 99}, {**built.facts, "variants": ["odd"]}):
        with pytest.raises(CorruptFile, match="facts"):
            rebuild_backbone(wrong, built.network.state_dict(), "cpu")


def test_half_precision_weights_are_used_in_single(tmp_path: Path) -> None:
    halves = {
        k: v.half() if v.is_floating_point() else v for k, v in random_state("resnet18").items()
    }
    torch.save(halves, tmp_path / "half.pth")
    backbone = load("resnet18", tmp_path / "half.pth")
    assert {p.dtype for p in backbone.network.parameters()} == {torch.float32}
    assert backbone.pretrained


def test_weights_of_another_number_of_classes_are_taken(tmp_path: Path) -> None:
    torch.save(random_state("resnet18", num_classes=3), tmp_path / "tuned.pth")
    assert load("resnet18", tmp_path / "tuned.pth").dim == 512


def test_weights_of_another_network_are_refused_by_their_names(mobilenet_file: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"Missing: bn1\.bias.* and \d+ more"):
        load("resnet18", mobilenet_file)


def test_a_file_that_is_missing_or_no_state_dict_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="no such file"):
        load("resnet18", tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("text.pth", "text.safetensors", "list.pth"):
        with pytest.raises(WeightsUnavailable, match=name):
            load("resnet18", tmp_path / name)


def test_pickled_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "ran").touch, ())

    torch.save(Bomb(), tmp_path / "bomb.pth")
    with pytest.raises(WeightsUnavailable):
        load("resnet18", tmp_path / "bomb.pth")
    assert not (tmp_path / "ran").exists()


def test_a_failed_download_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(WeightsUnavailable, match="BACKBONE=scratch"):
        load_backbone("squeezenet1_1", "DEFAULT", "cpu", seed=0)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_names_that_do_not_exist_are_answered_with_those_that_do() -> None:
    with pytest.raises(
        ConfigurationError, match=r"near it are mobilenet_v2.*fast, balanced, best, scratch"
    ):
        load_backbone("mobilnet", "DEFAULT", "cpu", seed=0)
    with pytest.raises(WeightsUnavailable, match="DEFAULT, IMAGENET1K_V1"):
        load_backbone("resnet18", "V9", "cpu", seed=0)


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99"):
        with pytest.raises(ConfigurationError, match=f"device='{name}'"):
            choose_device(name)


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (500, 7), (224, 225), (1003, 1000), (640, 480)])
def test_pictures_of_any_shape_come_to_the_input_size(size: tuple[int, int]) -> None:
    for resize_px in (224, 232, 256):
        plain = Preprocessing(resize_px, 224, (0.0,) * 3, (1.0,) * 3)
        pixels = plain.apply(Image.new("RGB", size, (9, 8, 7)))
        assert (pixels.shape, pixels.dtype) == ((3, 224, 224), torch.uint8)
        assert pixels[:, 100, 100].tolist() == [9, 8, 7]


def test_preprocessing_agrees_with_torchvisions_own() -> None:
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    ours = Preprocessing(256, 224, tuple(preset.mean), tuple(preset.std))
    smooth = noise(0, (9, 7)).resize((400, 300), Image.Resampling.BICUBIC)
    difference = ours.normalise(ours.apply(smooth)[None])[0] - preset(smooth)
    # One step of 255 is 0.017. torchvision rounds the crop to whole pixels after resizing.
    assert difference.abs().mean() < 0.017


class TooBigForMany(nn.Module):
    """Runs out of memory above two pictures."""

    def forward(self, pictures: Tensor) -> Tensor:
        if len(pictures) > 2:
            raise torch.OutOfMemoryError
        return pictures.mean(dim=(2, 3))


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    plain = Preprocessing(4, 4, (0.0,) * 3, (1.0,) * 3)
    backbone = Backbone(TooBigForMany(), plain, torch.device("cpu"), 3, "", False, "test")
    pictures = [torch.full((3, 4, 4), 51 * k, dtype=torch.uint8) for k in range(5)]
    assert np.allclose(backbone.embed(pictures)[:, 0], [0, 0.2, 0.4, 0.6, 0.8])


@needs_squeezenet
def test_real_squeezenet_weights_find_images_of_the_same_class_alike() -> None:
    path = SHARED / "weights" / "squeezenet1_1_caffe_fp16.pth"
    backbone = load("squeezenet1_1", path)
    files = [
        file
        for name in ("Forest", "Highway", "Residential", "SeaLake")
        for file in sorted((SHARED / "eurosat2700" / name).glob("*.jpg"))[:15]
    ]
    pictures = [backbone.preprocess(decode(file.read_bytes(), 10_000)) for file in files]
    embeddings_ND = backbone.embed(pictures)
    embeddings_ND /= np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
    similarity_NN = embeddings_ND @ embeddings_ND.T - 2 * np.eye(len(files))
    classes_N = np.arange(len(files)) // 15
    assert (classes_N[similarity_NN.argmax(axis=1)] == classes_N).mean() > 0.8


def test_scratch_is_the_same_for_the_same_pictures_and_seed(tmp_path: Path) -> None:
    pictures = [noise(seed) for seed in range(12)]
    one = train_scratch_backbone(pictures, tmp_path / "one", "cpu", seed=3)
    two = train_scratch_backbone(iter(pictures), tmp_path / "two", "cpu", seed=3)
    other = train_scratch_backbone(pictures, tmp_path / "other", "cpu", seed=4)
    assert one.key == two.key == load_scratch_backbone(tmp_path / "one", "cpu").key
    assert one.key != other.key
    assert not one.pretrained
    assert "from scratch on 12 images" in one.description
    embeddings = one.embed([one.preprocess(picture) for picture in pictures])
    assert embeddings.shape == (12, one.dim)
    assert np.isfinite(embeddings).all()


@pytest.mark.parametrize("pictures", [[noise(0)], [Image.new("RGB", (5, 5), "red")] * 3])
def test_scratch_copes_with_hardly_any_pictures(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    backbone = train_scratch_backbone(pictures, tmp_path / "s", "cpu", seed=0)
    embeddings = backbone.embed([backbone.preprocess(noise(n)) for n in range(3)])
    assert embeddings.shape == (3, backbone.dim)
    assert np.isfinite(embeddings).all()


def test_scratch_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none could be read"):
        train_scratch_backbone([], tmp_path / "s", "cpu", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_that_trains_too_takes_over_what_the_first_saved(tmp_path: Path) -> None:
    first = train_scratch_backbone([noise(n) for n in range(5)], tmp_path / "s", "cpu", seed=0)
    second = train_scratch_backbone([noise(n) for n in range(9)], tmp_path / "s", "cpu", seed=0)
    assert first.key == second.key


def test_a_damaged_scratch_folder_is_refused(tmp_path: Path) -> None:
    train_scratch_backbone([noise(n) for n in range(5)], tmp_path / "s", "cpu", seed=0)
    weights = tmp_path / "s" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CorruptFile):
        load_scratch_backbone(tmp_path / "s", "cpu")
