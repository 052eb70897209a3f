"""Model versions on disk: whole or not there, and never the wrong one removed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ml_backend.errors import CorruptFile, UnknownModel
from ml_backend.learning.evaluation import evaluate
from ml_backend.learning.model_card import ModelCard
from ml_backend.learning.registry import (
    ARRAYS,
    CARD,
    WEIGHTS,
    Registry,
    pack_hashes,
    unpack_hashes,
)

CARD_OF_ONE = ModelCard(
    name="ResNet-18, last stage",
    kind="fine-tuned",
    parent="0001-pretrained",
    created_at="2026-11-22T10:00:00+00:00",
    project_id=7,
    backbone_key="abc",
    backbone_facts={"architecture": "resnet18", "dim": 4},
    classes=("Hund", "Kätze"),
    label_counts={"Hund": 3, "Kätze": 2},
    n_trained=5,
    recipe={"trained": "last_stage", "epochs": 3},
    history=({"epoch": 1, "train_loss": 0.5},),
)
HASHES = ["ab" * 32, "01" * 32]


def state(seed: int = 0, size: int = 6) -> dict[str, np.ndarray]:
    weights = np.random.default_rng(seed).normal(size=(size, 4)).astype(np.float32)
    return {"0.weight": weights, "1.num_batches_tracked": np.array(3, np.int64)}


def card_with(right: int, n: int) -> ModelCard:
    """Make the card of a model that was right on so many of n holdout labels of two classes."""
    predicted_H = (np.arange(n) >= right).astype(int)
    found = evaluate(np.eye(2)[predicted_H], np.zeros(n, int), ("Hund", "Kätze"))
    return replace(CARD_OF_ONE, holdout_metrics=found.as_dict())


def save(registry: Registry, card: ModelCard = CARD_OF_ONE, seed: int = 0) -> str:
    return registry.save(card, state(seed), {"trained_hashes": pack_hashes(HASHES)})


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_what_is_loaded_is_what_was_saved(registry: Registry) -> None:
    name = save(registry)
    loaded = registry.load(name)
    assert name == "0001-resnet-18-last-stage"
    assert loaded.card == replace(CARD_OF_ONE, name=name) == registry.card(name)
    assert loaded.state.keys() == state().keys()
    for key, saved in state().items():
        assert loaded.state[key].dtype == saved.dtype
        assert loaded.state[key].shape == saved.shape
        assert np.array_equal(loaded.state[key], saved)
    assert unpack_hashes(loaded.arrays["trained_hashes"]) == HASHES


def test_a_network_goes_to_disk_and_back_bit_by_bit(registry: Registry) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    network = network.to(memory_format=torch.channels_last)
    name = registry.save(CARD_OF_ONE, network.state_dict(), {})
    back = {key: torch.from_numpy(array) for key, array in registry.load(name).state.items()}
    assert back.keys() == network.state_dict().keys()
    assert all(torch.equal(back[key], value) for key, value in network.state_dict().items())
    network.load_state_dict(back, strict=True)


def test_half_precision_is_kept_as_it_is(registry: Registry) -> None:
    name = registry.save(CARD_OF_ONE, {"w": torch.tensor([0.1], dtype=torch.float16)}, {})
    assert registry.load(name).state["w"].dtype == np.float16


@pytest.mark.parametrize("refused", [torch.bfloat16, torch.float64, torch.complex64])
def test_types_that_cannot_be_stored_are_refused_by_name(
    tmp_path: Path, refused: torch.dtype
) -> None:
    with pytest.raises(ValueError, match=rf"state\['w'\] is of {str(refused)[6:]}: expected"):
        Registry(tmp_path / "new").save(CARD_OF_ONE, {"w": torch.zeros(2, dtype=refused)}, {})
    assert not (tmp_path / "new").exists()


def test_a_diverged_network_is_not_saved(registry: Registry) -> None:
    with pytest.raises(ValueError, match=r"state\['w'\] holds NaN"):
        registry.save(CARD_OF_ONE, {"w": np.array([np.nan], np.float32)}, {})
    assert registry.names() == []


def test_numbers_that_json_has_not_become_null_and_numpys_become_plain(registry: Registry) -> None:
    history = ({"loss": float("nan"), "accuracy": np.float32(0.5), "epoch": np.int64(1)},)
    name = save(registry, replace(CARD_OF_ONE, history=history))
    assert registry.card(name).history == ({"loss": None, "accuracy": 0.5, "epoch": 1},)


def test_what_json_cannot_hold_is_named_and_nothing_is_left(registry: Registry) -> None:
    with pytest.raises(TypeError, match=r"timings\.at is of PosixPath"):
        save(registry, replace(CARD_OF_ONE, timings={"at": Path("x")}))
    assert registry.names() == []


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("../../etc", "0001-etc"),
        ("Ünïcode / ViT_B", "0001-unicode-vit-b"),
        ("狗", "0001-fine-tuned"),
        ("x" * 300, "0001-" + "x" * 60),
    ],
)
def test_any_wish_makes_a_folder_of_its_own(registry: Registry, wish: str, name: str) -> None:
    assert save(registry, replace(CARD_OF_ONE, name=wish)) == name
    assert registry.load(name).card.name == name


def test_versions_are_listed_in_the_order_of_saving(registry: Registry, tmp_path: Path) -> None:
    assert Registry(tmp_path / "not-there").names() == []
    for number in (2, 10, 9999, 10_000):
        (tmp_path / f"{number:04d}-x").mkdir()
    (tmp_path / "notes").mkdir()
    assert registry.names() == ["0002-x", "0010-x", "9999-x", "10000-x"]
    assert save(registry).startswith("10001-")


def test_a_number_is_never_given_out_again(registry: Registry) -> None:
    registry.delete(save(registry))
    assert save(registry).startswith("0002-")


@pytest.mark.parametrize("name", ["0009-nothing", "..", "../0001-x", "", ".lock", "/etc"])
def test_an_unknown_name_is_answered_with_those_that_exist(registry: Registry, name: str) -> None:
    there = save(registry)
    for ask in (registry.load, registry.card, registry.delete, registry.size_bytes):
        with pytest.raises(UnknownModel, match=there):
            ask(name)


@pytest.mark.parametrize("file", [WEIGHTS, ARRAYS, CARD])
def test_every_byte_counts(registry: Registry, tmp_path: Path, file: str) -> None:
    name = save(registry)
    path = tmp_path / name / file
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptFile):
            registry.load(name)
    for torn in (whole[:-1], b"", whole + b"x"):
        path.write_bytes(torn)
        with pytest.raises(CorruptFile):
            registry.load(name)
    path.unlink()
    with pytest.raises(CorruptFile, match=file):
        registry.load(name)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": 1}', '{"format": 99}', "\0"])
def test_a_card_that_is_not_one_is_refused(registry: Registry, tmp_path: Path, text: str) -> None:
    name = save(registry)
    (tmp_path / name / CARD).write_text(text)
    for ask in (registry.load, registry.card):
        with pytest.raises(CorruptFile, match=name):
            ask(name)


def test_a_card_that_was_edited_is_refused(registry: Registry, tmp_path: Path) -> None:
    name = save(registry, card_with(right=6, n=10))
    path = tmp_path / name / CARD
    facts = json.loads(path.read_text())
    facts["holdout_metrics"]["accuracy"]["value"] = 0.99
    path.write_text(json.dumps(facts))
    with pytest.raises(CorruptFile, match="checksum"):
        registry.card(name)


def test_a_folder_under_another_name_is_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / save(registry)).rename(tmp_path / "0005-better")
    with pytest.raises(CorruptFile, match="the card of '0001-resnet-18-last-stage'"):
        registry.load("0005-better")


def test_what_a_dead_process_left_is_cleared_and_was_never_listed(
    registry: Registry, tmp_path: Path
) -> None:
    name = save(registry)
    left = tmp_path / ".unfinished-xyz"
    left.mkdir()
    (left / WEIGHTS).write_bytes(b"half")
    assert registry.names() == [name]
    assert registry.clear_unfinished() == [".unfinished-xyz"]
    assert registry.clear_unfinished() == []
    assert not left.exists()
    assert registry.load(name)


def test_clearing_waits_for_a_save_that_is_under_way(registry: Registry) -> None:
    names = []
    big = {"w": np.zeros(2_000_000, np.float32)}
    saver = threading.Thread(
        target=lambda: names.extend(registry.save(CARD_OF_ONE, big, {}) for _ in range(5))
    )
    saver.start()
    while saver.is_alive():
        assert registry.clear_unfinished() == []
    saver.join()
    assert [registry.load(name).card.name for name in names] == names == registry.names()


def test_pruning_keeps_the_best_the_last_and_the_protected(registry: Registry) -> None:
    right = [50, 60, 95, 70, 80, 85, 90]
    names = [save(registry, card_with(right=each, n=100)) for each in right]
    removed = registry.prune({names[0]}, keep_last=2, max_bytes=10**9)
    assert removed == [names[1], names[3], names[4]]
    assert registry.names() == [names[0], names[2], names[5], names[6]]
    assert registry.prune({names[0]}, keep_last=2, max_bytes=10**9) == []


def test_the_best_is_best_by_what_its_holdout_can_vouch_for(registry: Registry) -> None:
    lucky = save(registry, card_with(right=12, n=12))
    tried = save(registry, card_with(right=195, n=200))
    newest = save(registry, card_with(right=0, n=0))
    assert registry.prune(set(), keep_last=1, max_bytes=10**9) == [lucky]
    assert registry.names() == [tried, newest]


def test_over_budget_the_oldest_of_the_last_go_first(registry: Registry) -> None:
    names = [save(registry, card_with(right=each, n=100)) for each in (50, 95, 60, 70, 80)]
    three = sum(registry.size_bytes(name) for name in (names[1], names[3], names[4]))
    assert registry.prune(set(), keep_last=5, max_bytes=three) == [names[0], names[2]]


def test_the_newest_the_best_and_the_protected_stay_over_any_budget_and_the_log_says_so(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    names = [save(registry, card_with(right=each, n=100)) for each in (50, 95, 60, 70)]
    with caplog.at_level(logging.WARNING):
        assert registry.prune({names[0]}, keep_last=0, max_bytes=0) == [names[2]]
    assert "over its budget" in caplog.text
    assert registry.names() == [names[0], names[1], names[3]]


def test_a_torn_version_can_be_pruned_but_is_never_the_best(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torn = save(registry, card_with(right=100, n=100))
    (tmp_path / torn / CARD).write_text("{")
    good, newest = (save(registry, card_with(right=each, n=100)) for each in (90, 50))
    assert registry.prune(set(), keep_last=1, max_bytes=10**9) == [torn]
    assert registry.names() == [good, newest]
    assert torn in caplog.text


def test_pruning_nothing_is_fine(registry: Registry) -> None:
    assert registry.prune({"0001-gone"}, keep_last=3, max_bytes=0) == []


WRITER = """
import sys
from pathlib import Path
from tests.unit.learning.test_registry import CARD_OF_ONE, Registry, state
registry = Registry(Path(sys.argv[1]))
print("writing", flush=True)
for seed in range(int(sys.argv[2])):
    registry.save(CARD_OF_ONE, state(seed, 50_000), {})
    if sys.argv[3] == "prune":
        registry.prune(set(), keep_last=2, max_bytes=10**9)
"""


def writer(folder: Path, times: int, then: str) -> subprocess.Popen[str]:
    """Start a process that saves again and again."""
    root = Path(__file__).parents[3]
    started = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(times), then],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "writing\n"
    return started


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_whole_versions_only(
    registry: Registry, tmp_path: Path
) -> None:
    for wait_s in (0.0, 0.007, 0.03, 0.09):
        killed = writer(tmp_path, 10_000, "prune")
        time.sleep(wait_s)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        for name in registry.names():
            assert registry.load(name).card.name == name
    last = save(registry)
    registry.clear_unfinished()
    assert {path.name for path in tmp_path.iterdir()} == {*registry.names(), ".lock"}
    assert registry.names()[-1] == last


@pytest.mark.slow
def test_two_processes_that_save_at_once_get_numbers_of_their_own(
    registry: Registry, tmp_path: Path
) -> None:
    running = [writer(tmp_path, 15, "keep") for _ in range(2)]
    for each in running:
        each.communicate()
        assert each.returncode == 0
    names = registry.names()
    assert [int(name[:4]) for name in names] == list(range(1, 31))
    assert all(registry.load(name) for name in names)
