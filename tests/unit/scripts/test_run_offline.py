"""A run on paper, whole: each key of the file that is no setting of the backend has its effect."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import yaml
from click.testing import CliRunner, Result

from ml_backend.errors import ConfigurationError
from ml_backend.jobs.store import Store
from ml_backend.learning.registry import Registry
from scripts.active_labeler import cli
from tests.few_digits import CLASSES, few_digits
from tests.tuning_loop import random_squeezenet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

IMAGES_A_CLASS = 12
FAST = {"backbone": "squeezenet1_1", "input_size_px": 32, "input_resize_px": 32, "device": "cpu"}

OfflineRun = Callable[..., Result]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that knows nothing, which are quick."""
    file = tmp_path_factory.mktemp("network") / "random.safetensors"
    state = random_squeezenet().network.state_dict()
    safetensors.torch.save_file({name: t.contiguous() for name, t in state.items()}, file)
    return file


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_digits(tmp_path_factory.mktemp("digits"), IMAGES_A_CLASS)


@pytest.fixture
def play(
    tmp_path: Path, network: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> OfflineRun:
    """Run a config to its end, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(source: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Result:
        data = {"source": source or {"kind": "folder", "path": str(digits)}, "holdout_share": 0.25}
        config = {"data": data, "model": {**FAST, "weights": str(network)}, "labeling": {}}
        for name, section in sections.items():
            config[name] = {**config.get(name, {}), **section}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        return CliRunner().invoke(cli, ["run", "--config", "config.yaml", "--offline"])

    return run


def passed(answer: Result) -> str:
    if answer.exception is not None:
        raise answer.exception
    return answer.output


def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path / 'config.run' / 'offline' / 'state.sqlite3'}")


def labeled_by_round(tmp_path: Path) -> list[int]:
    return [r.report["labeled"] for r in reversed(store(tmp_path).rounds(1, limit=100))]


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def test_examples_come_first_then_the_beginning_then_rounds(
    play: OfflineRun, tmp_path: Path, digits: Path
) -> None:
    examples = {name: f"{name}/{min(p.name for p in (digits / name).iterdir())}" for name in "147"}
    said = passed(
        play(
            labeling={
                "examples": examples,
                "initial": "similar",
                "initial_labels": 6,
                "labels_per_round": 4,
                "rounds": 2,
            }
        )
    )
    assert "14 images are labeled, 14 were wanted" in said
    assert labeled_by_round(tmp_path) == [0, 3, 6, 10, 14]
    human = rows(tmp_path / "config.run" / "export" / "human" / "labels.csv")
    assert set(examples.values()) <= {row["image_uri"] for row in human}
    assert all(row["image_uri"].startswith(f"{row['label']}/") for row in human)


def test_an_example_that_the_source_has_not_is_named(play: OfflineRun) -> None:
    answer = play(labeling={"examples": {"1": "1/none.png"}})
    assert isinstance(answer.exception, ConfigurationError)
    assert "1/none.png" in str(answer.exception)


def test_the_export_is_the_one_that_was_asked_for(play: OfflineRun, tmp_path: Path) -> None:
    passed(
        play(
            labeling={"target": {"labels": 9}},
            export={"formats": ["coco", "folders"], "threshold": 0.4, "folder": "labels"},
        )
    )
    folder = tmp_path / "config.run" / "labels"
    assert (folder / "coco_human.json").exists()
    assert not (folder / "label_studio.json").exists()
    model = rows(folder / "model" / "labels.csv")
    assert [row["above_threshold"] for row in model] == [
        str(float(row["confidence"]) >= 0.4).lower() for row in model
    ]
    assert len(list((folder / "human").glob("*/*.png"))) == 9


def test_a_test_set_is_measured_and_never_imported(
    play: OfflineRun, tmp_path: Path, digits: Path
) -> None:
    test = {"kind": "folder", "path": str(digits.parent / "all")}
    said = passed(play(data={"test": test}, labeling={"target": {"labels": 6}}))
    assert "Accuracy on the test set: " in said
    measured = json.loads((tmp_path / "config.run" / "test.json").read_text())
    assert measured["images"] > 3 * IMAGES_A_CLASS
    assert len(store(tmp_path).task_ids(1)) == 3 * IMAGES_A_CLASS


def test_a_split_can_be_the_test_set(play: OfflineRun, tmp_path: Path, digits: Path) -> None:
    files = sorted(digits.glob("*/*.png"))
    table = ["path,label,split"]
    table += [
        f"{file},{file.parent.name},{'test' if place % 3 == 0 else 'train'}"
        for place, file in enumerate(files)
    ]
    (tmp_path / "digits.csv").write_text("\n".join(table))
    source = {"kind": "csv", "path": "digits.csv", "root": str(digits), "split_column": "split"}
    passed(play(source, data={"source": source, "test_split": "test"}, labeling={"rounds": 3}))
    measured = json.loads((tmp_path / "config.run" / "test.json").read_text())
    assert (measured["images"], len(store(tmp_path).task_ids(1))) == (12, 24)


def test_classes_are_those_that_are_named_in_their_order(play: OfflineRun, tmp_path: Path) -> None:
    passed(play(data={"classes": ["7", "other", "4", "1"]}, labeling={"rounds": 2}))
    project = store(tmp_path).get_project(1)
    assert project is not None
    assert project.control.classes == ("7", "other", "4", "1")


def test_labels_of_no_class_are_refused(play: OfflineRun) -> None:
    answer = play(data={"classes": ["1", "4"]})
    assert isinstance(answer.exception, ConfigurationError)
    assert "'7'" in str(answer.exception)


def test_without_a_known_label_there_is_nobody_to_answer(
    play: OfflineRun, tmp_path: Path, digits: Path
) -> None:
    answer = play({"kind": "folder", "path": str(digits / "1")}, data={"classes": ["1", "4"]})
    assert isinstance(answer.exception, ConfigurationError)
    assert "no label is known" in str(answer.exception)


def test_a_network_that_is_not_frozen_is_trained_as_the_file_says(
    play: OfflineRun, tmp_path: Path
) -> None:
    training = {"epochs": 1, "batch_size": 8, "optimizer": "sgd", "loss": "focal"}
    model = {"frozen": False, "train_after_labels": 10, "training": training}
    passed(play(model=model, labeling={"labels_per_round": 20, "rounds": 1}))
    [record] = store(tmp_path).fine_tunes(1, limit=5)
    assert record.state in ("promoted", "refused"), record
    registry = Registry(tmp_path / "config.run" / "offline" / "projects" / "1" / "models")
    recipe = registry.card(str(record.outcome["model"])).recipe
    assert recipe is not None
    assert {key: recipe[key] for key in training} == training


def test_a_frozen_network_stays_as_it_is(play: OfflineRun, tmp_path: Path) -> None:
    passed(play(model={"frozen": True, "train_after_labels": 1}, labeling={"rounds": 3}))
    assert store(tmp_path).fine_tunes(1, limit=5) == []


def test_a_run_goes_on_when_its_target_is_raised(play: OfflineRun, tmp_path: Path) -> None:
    passed(play(labeling={"target": {"labels": 5}}))
    before = set(label_keys(tmp_path))
    passed(play(labeling={"target": {"labels": 8}}))
    assert before < set(label_keys(tmp_path))
    assert len(label_keys(tmp_path)) == 8
    assert len(store(tmp_path).task_ids(1)) == 3 * IMAGES_A_CLASS


def test_the_same_seed_labels_the_same_images(play: OfflineRun, tmp_path: Path) -> None:
    taken = []
    for _ in range(2):
        passed(play(labeling={"target": {"labels": 8}, "labels_per_round": 2}))
        taken.append(label_keys(tmp_path))
        shutil.rmtree(tmp_path / "config.run")
    assert taken[0] == taken[1]


def test_everything_labeled_ends_a_run_without_a_target(play: OfflineRun) -> None:
    said = passed(play(labeling={"labels_per_round": 20}))
    assert "everything that can be is labeled" in said
    assert "36 labels by people, 0 by the model" in said


@pytest.mark.parametrize("kind", ["fsspec", "torchvision", "huggingface"])
def test_other_sources_come_to_an_export_too(
    play: OfflineRun, tmp_path: Path, digits: Path, kind: str
) -> None:
    source: dict[str, Any] = {
        "fsspec": {"url": f"file://{digits}"},
        "torchvision": {"name": "ImageFolder", "root": str(digits)},
        "huggingface": {"path": str(digits)},
    }[kind]
    pytest.importorskip({"huggingface": "datasets"}.get(kind, kind))
    passed(play({"kind": kind, **source}, labeling={"target": {"labels": 6}}))
    human = rows(tmp_path / "config.run" / "export" / "human" / "labels.csv")
    assert len(human) == 6
    assert {row["label"] for row in human} <= set(CLASSES)


def label_keys(tmp_path: Path) -> list[str]:
    human = rows(tmp_path / "config.run" / "export" / "human" / "labels.csv")
    return sorted(row["image_uri"] for row in human)
