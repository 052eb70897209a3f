"""What the trainer does when nobody annotates."""

from __future__ import annotations

from pathlib import Path

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
