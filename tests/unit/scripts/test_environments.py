"""scripts/setup: what it does again, what it leaves, and how it says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import environments
from tests.repo.sources import ROOT


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with packaging files and no environments."""
    for name in ("pyproject.toml", "requirements.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "OWN", tmp_path / ".venv")
    return tmp_path


def pretend_made(clone: Path, digest: str) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").touch()
    (clone / ".venv" / environments.STAMP).write_text(digest)


def test_what_was_made_for_the_tests_also_serves_the_demo(clone: Path) -> None:
    pretend_made(clone, environments.own_digest(dev=True))
    environments.ensure_own(dev=True)  # would install, and fail, if it thought it had to
    environments.ensure_own(dev=False)


def test_changed_requirements_are_installed_again(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_made(clone, environments.own_digest(dev=False))
    (clone / "requirements.txt").write_text("numpy\n")
    monkeypatch.setattr(environments, "NEEDED_BYTES", 10**18)  # ends it where it would begin
    monkeypatch.delenv("ACTIVE_LABELER_SKIP_DISK_CHECK", raising=False)
    with pytest.raises(environments.SetupError, match="GB are needed"):
        environments.ensure_own(dev=False)


def test_the_tests_extra_is_installed_where_only_the_demo_was_set_up(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_made(clone, environments.own_digest(dev=False))
    monkeypatch.setattr(environments, "NEEDED_BYTES", 10**18)
    monkeypatch.delenv("ACTIVE_LABELER_SKIP_DISK_CHECK", raising=False)
    with pytest.raises(environments.SetupError):
        environments.ensure_own(dev=True)


def test_an_environment_whose_python_is_gone_is_made_again(clone: Path) -> None:
    pretend_made(clone, environments.own_digest(dev=False))
    (clone / ".venv" / "bin" / "python").unlink()
    assert environments._stamp(clone / ".venv") == ""


def test_a_python_that_is_too_old_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Every name that scripts/setup looks for is a Python 2 here."""
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    ended = subprocess.run(
        [ROOT / "scripts" / "setup"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": "python3"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    assert "no Python 3.11 to 3.14 found" in ended.stderr
    assert "PYTHON=/path/to/python3" in ended.stderr


def test_an_index_that_does_not_answer_is_named_as_what_to_set(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(environments.SetupError, match="PIP_INDEX_URL"):
        environments._run([sys.executable, "-c", "raise SystemExit(2)"], "install the packages")


def test_it_runs_on_the_standard_library_alone() -> None:
    """It is what installs everything else."""
    program = "import runpy; runpy.run_path('scripts/environments.py', run_name='imported')"
    ended = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 0, ended.stderr
