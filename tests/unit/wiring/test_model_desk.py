"""What the commands do with models, and what happens where one cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from ml_backend.errors import ConfigurationError, UnknownModel
from ml_backend.jobs.store import Store
from ml_backend.learning.backbones import Backbone, rebuild_backbone
from ml_backend.learning.model_card import ModelCard
from ml_backend.learning.registry import Registry, pack_hashes
from ml_backend.settings import Settings, load_settings
from ml_backend.wiring.backbone_shelf import Backbones, registry_of
from ml_backend.wiring.fine_tunes import recipe_of, slow_loop, with_sound_model
from ml_backend.wiring.model_desk import PRETRAINED, ModelDesk
from tests.tuning_loop import random_squeezenet
from tests.unit.jobs.builders import LATER, NOW, SOON, project


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(model_dir=tmp_path, device="cpu", label_studio_api_key="x")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with closing(Store.open(settings.sqlalchemy_url)) as opened:
        opened.save_project(project(1))
        yield opened


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return registry_of(settings, 1)


def network(seed: int) -> Backbone:
    """The random SqueezeNet with its last layer's weights moved."""
    base = random_squeezenet()
    state = {name: tensor.clone() for name, tensor in base.network.state_dict().items()}
    name = list(state)[-1]
    state[name] += torch.randn(state[name].shape, generator=torch.Generator().manual_seed(seed))
    return rebuild_backbone(base.facts, state, "cpu")


def save(registry: Registry, seed: int, **facts: object) -> str:
    backbone = network(seed)
    card = ModelCard(
        name="a model",
        kind="fine-tuned",
        parent=None,
        created_at=NOW.isoformat(),
        project_id=1,
        backbone_key=backbone.key,
        backbone_facts=backbone.facts,
        classes=("cat", "dog"),
        **facts,  # type: ignore[arg-type]
    )
    arrays = {"learned_from": pack_hashes(["ab" * 32])}
    return registry.save(card, backbone.network.state_dict(), arrays)


def damage(settings: Settings, model: str) -> None:
    weights = settings.model_dir / "projects" / "1" / "models" / model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])


def sound(settings: Settings, store: Store) -> str | None:
    found = store.get_project(1)
    assert found is not None
    return with_sound_model(settings, store, found, Backbones(settings), lambda: LATER).model


def test_a_model_of_the_registry_embeds_as_when_it_was_saved(
    settings: Settings, registry: Registry
) -> None:
    name = save(registry, 1)
    backbone, learned_from = Backbones(settings).fine_tuned(1, name)
    assert backbone.key == network(1).key
    assert learned_from == {"ab" * 32}


def test_a_sound_model_stays(settings: Settings, store: Store, registry: Registry) -> None:
    name = save(registry, 1)
    store.switch_model(1, name, "better", NOW)
    assert sound(settings, store) == name


def test_a_damaged_model_gives_way_to_the_one_before_and_is_noted(
    settings: Settings, store: Store, registry: Registry
) -> None:
    first, second = save(registry, 1), save(registry, 2)
    store.switch_model(1, first, "better", NOW)
    store.switch_model(1, second, "better still", SOON)
    damage(settings, second)
    assert sound(settings, store) == first
    states = {record.model: record for record in store.models(1)}
    assert (states[first].state, states[second].state) == ("champion", "damaged")
    assert "SHA-256" in states[second].note


def test_where_none_can_be_read_the_configured_backbone_serves(
    settings: Settings, store: Store, registry: Registry
) -> None:
    first, second = save(registry, 1), save(registry, 2)
    store.switch_model(1, first, "better", NOW)
    store.switch_model(1, second, "better still", SOON)
    damage(settings, first)
    damage(settings, second)
    assert sound(settings, store) is None
    assert {record.state for record in store.models(1)} == {"damaged"}


def test_a_model_whose_folder_is_gone_counts_as_damaged(
    settings: Settings, store: Store, registry: Registry
) -> None:
    name = save(registry, 1)
    store.switch_model(1, name, "better", NOW)
    registry.delete(name)
    assert sound(settings, store) is None


def test_the_list_names_the_configured_backbone_and_every_model(
    settings: Settings, store: Store, registry: Registry
) -> None:
    metrics = {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}}
    name = save(registry, 1, holdout_metrics=metrics)
    store.note_model(1, name, "refused", "it does worse", NOW)
    first, second = ModelDesk(settings, store, 1).rows()
    assert (first["model"], first["state"]) == (PRETRAINED, "champion")
    assert (second["model"], second["state"], second["note"]) == (name, "refused", "it does worse")
    assert second["accuracy"] == metrics["accuracy"]


def test_a_model_may_be_named_by_its_number(
    settings: Settings, store: Store, registry: Registry
) -> None:
    name = save(registry, 1)
    desk = ModelDesk(settings, store, 1)
    assert desk.card("1")["name"] == desk.card("0001")["name"] == name
    with pytest.raises(UnknownModel, match=name):
        desk.card("7")


def test_the_model_before_is_the_one_retired_last(
    settings: Settings, store: Store, registry: Registry
) -> None:
    desk = ModelDesk(settings, store, 1)
    with pytest.raises(ConfigurationError, match="one model only"):
        desk.before()
    first, second = save(registry, 1), save(registry, 2)
    store.switch_model(1, first, "better", NOW)
    assert desk.before() == PRETRAINED
    store.switch_model(1, second, "better still", SOON)
    assert desk.before() == first


def test_an_unknown_key_of_the_recipe_is_answered_with_those_that_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"epoch.*; there is.*epochs"):
        recipe_of(load_settings(fine_tune_recipe={"epoch": 3}))


def test_a_mistake_in_the_recipe_shows_when_the_trainer_starts(
    tmp_path: Path, store: Store
) -> None:
    wrong = load_settings(model_dir=tmp_path, fine_tune_recipe={"epochs": 0})
    with pytest.raises(ConfigurationError, match="epochs=0"):
        slow_loop(wrong, store, lambda: NOW, has_gpu=False)


@pytest.mark.parametrize(
    ("setting", "has_gpu", "by_itself"),
    [("auto", False, False), ("auto", True, True), ("on", False, True), ("ask", True, False)],
)
def test_networks_are_trained_by_themselves_where_it_is_wanted(
    tmp_path: Path, store: Store, setting: str, has_gpu: bool, by_itself: bool
) -> None:
    settings = load_settings(model_dir=tmp_path, fine_tune=setting)
    assert slow_loop(settings, store, lambda: NOW, has_gpu=has_gpu).policy.by_itself is by_itself
