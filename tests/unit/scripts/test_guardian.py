"""What a killed run leaves behind is ended, and its folder's lock is free only then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from scripts.child_processes import one_at_a_time
from tests.e2e.processes import base_environment

PARENT = """
import os, subprocess, sys, time
from pathlib import Path
from scripts.child_processes import one_at_a_time
from scripts.run.guardian import guardian
with one_at_a_time(Path(sys.argv[1])) as lock, guardian(lock) as watched:
    child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, start_new_session=True)
    watched.watch(child.pid)
    print(child.pid, flush=True)
    if sys.argv[2] == "wait":
        time.sleep(600)
"""


def start(folder: Path, then: str) -> tuple[subprocess.Popen[str], int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), then],
        env=base_environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_runs_servers_are_ended_and_then_the_lock_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, child = start(tmp_path, "wait")
    with pytest.raises(click.ClickException, match="another one runs"), one_at_a_time(tmp_path):
        pass
    assert not capsys.readouterr().err, "who does not wait is told by the error alone"
    with (
        pytest.raises(click.ClickException, match="another one runs"),
        one_at_a_time(tmp_path, wait_s=0.1),
    ):
        pass
    assert "Up to 0.1 s for it to end" in capsys.readouterr().err
    os.killpg(parent.pid, signal.SIGKILL)
    with one_at_a_time(tmp_path, wait_s=30):
        assert not lives(child)
    parent.communicate()


def test_a_run_that_ends_in_order_leaves_its_guardian_nothing_to_do(tmp_path: Path) -> None:
    parent, child = start(tmp_path, "end")
    parent.communicate(timeout=30)
    assert parent.returncode == 0
    time.sleep(0.5)
    assert lives(child), "it was not the guardian's to end"
    os.kill(child, signal.SIGKILL)
