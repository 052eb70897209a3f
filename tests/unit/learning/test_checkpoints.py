"""A round's results on disk: whole or not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import CorruptFile
from ml_backend.learning.checkpoints import (
    RoundResults,
    find_version,
    latest,
    load_results,
    save_results,
    saved_versions,
    version_of,
)
from ml_backend.learning.head import Head


def results(version: str = "v1", n: int = 6) -> RoundResults:
    """Make the results of a round over n tasks and two classes."""
    rng = np.random.default_rng(0)
    points_ND = rng.normal(size=(n, 4)).astype(np.float32)
    labels_M = np.arange(n) % 2
    head = Head(
        n_classes=2,
        classes_seen_K=np.array([0, 1]),
        label_counts_K=np.array([3, 3]),
        centre_D=np.zeros(4, np.float32),
        weights_DK=rng.normal(size=(4, 2)).astype(np.float32),
        bias_K=np.zeros(2, np.float32),
        temperature=1.5,
        calibrated_on=6,
        oof_accuracy=0.5,
    )
    return RoundResults(
        model_version=version,
        classes=("Hund", "Katze"),
        backbone_key="abc",
        task_ids_N=np.arange(n) + 100,
        probs_NC=head.probs(points_ND),
        order_N=rng.permutation(n),
        uncertainty_N=rng.random(n).astype(np.float32),
        reasons=("néw region", "unsure"),
        head=head,
        labeled_ids_M=np.arange(n) + 500,
        labels_M=labels_M,
        details={"strategy": "uherding"},
    )


def before_any_label() -> RoundResults:
    nothing = np.empty(0, np.int64)
    return replace(
        results(),
        probs_NC=None,
        uncertainty_N=None,
        head=None,
        labeled_ids_M=nothing,
        labels_M=nothing,
    )


def assert_equal(one: object, two: object) -> None:
    """Compare dataclasses field by field, arrays by value and type."""
    for field in fields(one):  # type: ignore[arg-type]
        left, right = getattr(one, field.name), getattr(two, field.name)
        if field.name == "head" and left is not None:
            assert_equal(left, right)
        elif isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            assert np.array_equal(left, right), field.name
        else:
            assert left == right, field.name


@pytest.mark.parametrize(
    "saved", [results(), before_any_label(), replace(results(n=2), reasons=())]
)
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, saved: RoundResults) -> None:
    loaded = load_results(save_results(tmp_path, saved))
    assert_equal(saved, loaded)
    if saved.head and loaded.head:
        points_ND = np.ones((1, 4), np.float32)
        assert np.array_equal(saved.head.probs(points_ND), loaded.head.probs(points_ND))


def test_a_head_saved_before_networks_were_trained_is_read(tmp_path: Path) -> None:
    saved = save_results(tmp_path, results())
    card = json.loads((saved / "card.json").read_text("utf-8"))
    del card["head"]["calibrated_on_unseen"]
    (saved / "card.json").write_text(json.dumps(card))
    loaded = load_results(saved)
    assert loaded.head is not None
    assert not loaded.head.calibrated_on_unseen


def test_the_newest_is_the_latest_and_old_ones_go(tmp_path: Path) -> None:
    assert latest(tmp_path / "not-there") is None
    for number in range(12):
        save_results(tmp_path, results(f"v{number}"), keep=3)
    assert [version_of(path) for path in saved_versions(tmp_path)] == ["v9", "v10", "v11"]
    newest = latest(tmp_path)
    assert newest is not None
    assert load_results(newest).model_version == "v11"


@pytest.mark.parametrize("version", ["al/7 2026-11-22T10:00:00", "..", "ünïcode", "%2F"])
def test_a_version_of_any_name_is_found_again(tmp_path: Path, version: str) -> None:
    saved = save_results(tmp_path, results(version))
    assert saved.parent == tmp_path
    assert find_version(tmp_path, version) == saved
    assert find_version(tmp_path, "other") is None


def test_results_that_contradict_themselves_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="permutation"):
        replace(results(), order_N=np.zeros(6, np.int64))
    with pytest.raises(ValueError, match="probs_NC"):
        replace(results(), classes=("one",))


def test_every_byte_counts(tmp_path: Path) -> None:
    saved = save_results(tmp_path, results())
    arrays = saved / "arrays.safetensors"
    whole = arrays.read_bytes()
    for place in range(0, len(whole), 37):
        flipped = bytes([whole[place] ^ 1])
        arrays.write_bytes(whole[:place] + flipped + whole[place + 1 :])
        with pytest.raises(CorruptFile):
            load_results(saved)
    arrays.write_bytes(whole[:-1])
    with pytest.raises(CorruptFile):
        load_results(saved)


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"format": 1}', '{"format": 99}', "\0"])
def test_a_card_that_is_not_one_is_refused(tmp_path: Path, card: str) -> None:
    saved = save_results(tmp_path, results())
    (saved / "card.json").write_text(card)
    with pytest.raises(CorruptFile):
        load_results(saved)


def test_a_card_without_a_part_is_refused(tmp_path: Path) -> None:
    saved = save_results(tmp_path, results())
    card = json.loads((saved / "card.json").read_text("utf-8"))
    for part in card:
        rest = {name: value for name, value in card.items() if name != part}
        (saved / "card.json").write_text(json.dumps(rest))
        with pytest.raises(CorruptFile):
            load_results(saved)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile):
        load_results(tmp_path)


WRITER = """
import sys
from pathlib import Path
from tests.unit.learning.test_checkpoints import results, save_results
print("writing", flush=True)
for number in range(10_000):
    save_results(Path(sys.argv[1]), results(f"v{number}", 5_000), keep=2)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_results_only(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    for wait_s in (0.0, 0.011, 0.05, 0.1):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        time.sleep(wait_s)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        for saved in saved_versions(tmp_path):
            assert load_results(saved).model_version == version_of(saved)
    save_results(tmp_path, results("last"), keep=2)
    assert len(list(tmp_path.iterdir())) == 2  # nothing unfinished is left lying
