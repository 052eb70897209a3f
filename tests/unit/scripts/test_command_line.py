"""The command line: what it refuses, what it says, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.loop import Loop

COMMANDS = (
    "connect",
    "detach",
    "doctor",
    "fine-tune",
    "models",
    "rollback",
    "serve",
    "simulate",
    "status",
    "sync",
    "train",
    "why",
)


def run(
    *words: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run active-labeler in `folder` as a person would, with nothing set but what is given."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    root = str(Path(__file__).resolve().parents[3])
    return subprocess.run(
        [sys.executable, "-m", "scripts.active_labeler", *words],
        cwd=folder,
        env={**inherited, "PYTHONPATH": root, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(command: str, tmp_path: Path) -> None:
    answer = run(command, "--help", folder=tmp_path)
    assert answer.returncode == 0
    assert len(answer.stdout.splitlines()) > 5


def test_a_setting_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    answer = run("--set", "windoww=3", "status", folder=tmp_path)
    assert answer.returncode == 2
    assert "window" in answer.stderr


def test_a_value_that_cannot_be_used_names_its_setting(tmp_path: Path) -> None:
    answer = run("--set", "window=none", "status", folder=tmp_path)
    assert answer.returncode == 2
    assert "window" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_without_a_token_it_says_where_to_get_one(tmp_path: Path) -> None:
    answer = run(
        "connect", "--project", "1", "--backend-url", "http://127.0.0.1:9", folder=tmp_path
    )
    assert answer.returncode == 2
    assert "LABEL_STUDIO_API_KEY" in answer.stderr


def test_a_label_studio_that_is_not_there_ends_with_three_and_no_token_is_shown(
    tmp_path: Path,
) -> None:
    answer = run(
        *("connect", "--project", "1", "--backend-url", "http://127.0.0.1:9"),
        folder=tmp_path,
        environment={
            "LABEL_STUDIO_URL": "http://127.0.0.1:9",
            "LABEL_STUDIO_API_KEY": "0123456789secret",
        },
    )
    assert answer.returncode == 3
    assert "127.0.0.1:9" in answer.stderr
    assert "0123456789secret" not in answer.stdout + answer.stderr


def test_flag_beats_environment_beats_file(tmp_path: Path) -> None:
    (tmp_path / "active-labeler.yaml").write_text("model_dir: from-file\n")
    run("status", folder=tmp_path)
    assert (tmp_path / "from-file").is_dir()
    run("status", folder=tmp_path, environment={"MODEL_DIR": "from-environment"})
    assert (tmp_path / "from-environment").is_dir()
    run(
        *("--model-dir", "from-flag", "status"),
        folder=tmp_path,
        environment={"MODEL_DIR": "another"},
    )
    assert (tmp_path / "from-flag").is_dir()
    assert not (tmp_path / "another").exists()


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "active-labeler.yaml").write_text("widnow: 3\n")
    answer = run("status", folder=tmp_path)
    assert answer.returncode == 2
    assert "widnow" in answer.stderr


def test_nothing_connected_is_an_answer_and_no_error(tmp_path: Path) -> None:
    answer = run("status", "--json", folder=tmp_path)
    assert answer.returncode == 0
    assert json.loads(answer.stdout) == {"projects": [], "trainers": []}


def test_a_project_that_is_not_connected_is_named(tmp_path: Path) -> None:
    answer = run("why", "--project", "7", "--task", "1", folder=tmp_path)
    assert answer.returncode == 2
    assert "project 7" in answer.stderr


def test_status_shows_the_last_round_as_json(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(9)
    loop.ask()
    loop.run()
    answer = run("--model-dir", str(tmp_path), "status", "--json", folder=tmp_path)
    (project,) = json.loads(answer.stdout)["projects"]
    assert project["counts"]["pool"] == 9
    assert project["last_round"]["state"] == "published"
    assert project["version"] == loop.server.settings.model_version
