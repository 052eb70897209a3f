"""What the trainer does when nobody annotates."""

from __future__ import annotations

from pathlib import Path

from ml_backend.errors import WeightsUnavailable
from tests.loop import Loop


def test_clearing_old_versions_away_gives_way_to_a_look(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(30)
    loop.ask("connect")
    loop.trainer.tidy_s = -1.0  # over before it begins
    loop.run()
    loop.trainer.memory[1].last_round = float("-inf")
    loop.trainer.memory[1].last_look = float("inf")
    assert loop.trainer.step()
    assert not loop.trainer.memory[1].tidied
    loop.trainer.memory[1].last_look = float("-inf")
    assert loop.trainer.step()
    assert loop.store.is_dirty(1)


def asked(loop: Loop) -> frozenset[str]:
    """Let the trainer do its chores, and tell what it asked for."""
    loop.trainer.memory[1].last_look = float("-inf")
    assert loop.trainer.step()
    claim = loop.store.claim("test", 30.0, loop.now())
    loop.store.finish(claim, loop.now())
    return claim.requested


def test_while_somebody_is_at_work_it_counts_and_looks_whole_now_and_then(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(3)
    loop.ask("connect")
    loop.run()
    memory = loop.trainer.memory[1]
    assert asked(loop) == {"look"}  # nothing is known of the time before it started
    assert asked(loop) == {"count"}
    memory.last_whole_look = float("-inf")
    assert asked(loop) == {"look"}
    memory.last_round = float("-inf")
    assert asked(loop) == {"look"}


def test_a_network_that_cannot_be_loaded_keeps_no_trainer_from_starting(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.store.update_project(1, current_version="al-1")

    def broken(_project_id: int, _still_ours: object) -> None:
        raise WeightsUnavailable("no network to download it")

    loop.trainer.workbench = broken
    loop.trainer.stopping.set()
    loop.trainer.run_forever()


class Asked:
    """Notes which appraisals the trainer asks for."""

    def __init__(self) -> None:
        self.projects: list[int] = []

    def appraise(self, project_id: int) -> None:
        self.projects.append(project_id)

    def tend(self) -> None:
        """Nothing to start."""


def test_labels_are_appraised_once_when_nobody_is_at_work(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(3)
    loop.ask("connect")
    loop.trainer.jobs = jobs = Asked()
    loop.run()
    memory = loop.trainer.memory[1]
    memory.last_look = float("inf")
    memory.last_appraisal = memory.last_round  # somebody is at work, and the last one is recent
    loop.trainer.step()
    assert jobs.projects == []
    memory.last_round = float("-inf")
    loop.trainer.step()
    loop.trainer.step()
    assert jobs.projects == [1]


def test_where_people_never_pause_labels_are_appraised_now_and_then(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(3)
    loop.ask("connect")
    loop.trainer.jobs = jobs = Asked()
    loop.run()
    loop.trainer.memory[1].last_look = float("inf")
    loop.trainer.step()
    assert jobs.projects == [1]  # the last one is longer ago than can be told
