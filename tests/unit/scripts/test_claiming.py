"""Commands that change a project keep the trainer away from it meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from scripts.commands.rounds import claimed
from tests.loop import Loop


def test_no_trainer_gets_a_project_that_a_command_works_on(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    with claimed(loop.store, loop.project_id, "detach") as (claim, _still_ours):
        loop.ask()
        assert loop.store.claim("trainer", 30.0, real_time()) is None
        loop.store.finish(claim, loop.now())
    assert loop.store.claim("trainer", 30.0, real_time()) is not None


def test_a_command_that_fails_gives_the_project_back(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    with (
        pytest.raises(KeyboardInterrupt),
        claimed(loop.store, loop.project_id, "detach"),
    ):
        raise KeyboardInterrupt
    assert loop.store.claim("trainer", 30.0, loop.now()) is not None


def real_time() -> datetime:
    """Commands go by the real clock, and the loop's own runs in 2030: stay within the lease."""
    return datetime.now(UTC)
