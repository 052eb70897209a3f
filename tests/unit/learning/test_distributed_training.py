"""Two processes that train one network over gloo: as good as one, and one network in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from torch import Tensor

from ml_backend.learning.distributed import ALONE, Distributed
from tests.repo.sources import ROOT
from tests.unit.learning.distributed_run import train
from tests.unit.learning.small_training import QUICK, training_set

N = 31  # 25 rows to learn from: the last step of an epoch leaves one process a row less
# What a process does to its own rows alone (statistics of a batch, dropout) is not what one process
# would do to all; these are off.
RECIPE = replace(QUICK, freeze_norm=True, epochs=2, batch_size=6, label_smoothing=0.0)


def job(name: str, folder: str, stop_after: int = -1) -> dict[str, Any]:
    return {"name": name, "folder": folder, "recipe": asdict(RECIPE), "stop_after": stop_after}


def run_two(folder: Path, jobs: list[dict[str, Any]]) -> None:
    """Start two processes that do the jobs one after the other, and wait for them."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "tests.unit.learning.distributed_run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [*command, str(rank), "2", str(folder)],
            cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        for process in processes:
            _, said = process.communicate(timeout=280)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()


def result(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state = safetensors.torch.load_file(folder / f"{name}.safetensors")
    return state, json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    training_set(folder / "pictures", N)
    stopped = job("stopped", "other", stop_after=13)  # in the second epoch
    run_two(folder, [job("both", "run"), stopped, job("resumed", "other")])
    train(ALONE, job("alone", "run"), folder)
    return folder


def test_both_end_with_the_same_weights(folder: Path) -> None:
    (first, _), (second, _) = (result(folder, f"both-{rank}-of-2") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)


def test_together_they_see_every_row_of_an_epoch_once(folder: Path) -> None:
    shares = [result(folder, f"both-{rank}-of-2")[1]["seen"] for rank in (0, 1)]
    alone = result(folder, "alone-0-of-1")[1]["seen"]
    for epoch in (1, 2):
        together = [row for seen in shares for e, *rows in seen if e == epoch for row in rows]
        assert sorted(together) == sorted(row for e, *rows in alone if e == epoch for row in rows)
        assert len(together) == len(set(together))
    assert sum(map(len, shares[0])) != sum(map(len, shares[1]))  # uneven, and nothing hung


def test_they_come_to_what_one_process_comes_to(folder: Path) -> None:
    (both, facts), (alone, expected) = (
        result(folder, name) for name in ("both-0-of-2", "alone-0-of-1")
    )
    # The same sums in another order.
    for name in alone:
        assert both[name].allclose(alone[name], atol=1e-4), name
    for row, one in zip(facts["history"], expected["history"], strict=True):
        assert row["train_loss"] == pytest.approx(one["train_loss"], abs=1e-4)
        assert row["val_accuracy"] == pytest.approx(one["val_accuracy"], abs=1e-9)


def test_the_first_alone_writes_and_reports(folder: Path) -> None:
    assert sorted(p.name for p in (folder / "run-0-of-2").iterdir()) == [
        "epoch-00001",
        "epoch-00002",
    ]
    assert not (folder / "run-1-of-2").exists()
    assert result(folder, "both-0-of-2")[1]["reported"]
    assert not result(folder, "both-1-of-2")[1]["reported"]


def test_a_stop_reaches_both_and_they_go_on_together(folder: Path) -> None:
    assert {path.name for path in folder.glob("*.cancelled")} == {
        "stopped-0-of-2.cancelled",
        "stopped-1-of-2.cancelled",
    }
    whole = result(folder, "both-0-of-2")[0]
    for rank in (0, 1):
        state, facts = result(folder, f"resumed-{rank}-of-2")
        assert {epoch for epoch, *_ in facts["seen"]} == {2}
        assert all(state[name].equal(whole[name]) for name in whole)


def test_one_process_needs_no_others() -> None:
    alone = Distributed()
    assert alone.writes
    assert alone.any(True)
    assert alone.total([1.5]) == [1.5]
    assert alone.words_from_rank_0({"a": 1}) == {"a": 1}
