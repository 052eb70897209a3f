"""Docs that cannot rot: what they name exists, and what exists is named."""

from __future__ import annotations

import re
import subprocess

import pytest

from scripts import run_config_page, settings_page
from scripts.demonstration.main import demo
from tests.repo.sources import ROOT

README = (ROOT / "README.md").read_text()
# Python's own markers, and what tools need and nobody reads.
UNLISTED = {"__init__.py", "py.typed", "README.md", ".gitignore", ".dockerignore", "conftest.py"}
# Folders whose own header or table lists what is in them.
LISTED_ELSEWHERE = {"strategies", "benchmarks"}


def tree_of_the_readme() -> dict[str, str]:
    """Read the file tree: path from the root to what it says about it."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    [block] = [block for block in blocks if block.startswith("ml_backend/")]
    tree, folder = {}, ""
    for line in block.splitlines():
        found = re.fullmatch(r"(  )?(\S+)\s\s+(\S.*)", line)
        assert found, f"expected a name and what it is: {line!r}"
        inside, name, text = found.groups()
        folder = folder if inside else name
        tree[(folder if inside else "") + name] = text
    return tree


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return listed.stdout.splitlines()


def test_every_file_in_the_readmes_tree_exists() -> None:
    assert not [path for path in tree_of_the_readme() if not (ROOT / path).exists()]


def test_everything_down_to_the_second_level_is_in_the_readmes_tree() -> None:
    wanted = set()
    for path in tracked():
        names = path.split("/")
        if names[-1] in UNLISTED and len(names) <= 2:
            continue
        if len(names) == 1 or names[0] in LISTED_ELSEWHERE:
            wanted.add(names[0] + ("/" if len(names) > 1 else ""))
        else:
            wanted.add("/".join(names[:2]) + ("/" if len(names) > 2 else ""))
    top = {path.split("/")[0] + "/" for path in wanted if "/" in path} - {".ci/"}
    assert not (wanted | top) - tree_of_the_readme().keys()


def test_the_settings_page_is_current() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), (
        "run: python -m scripts.settings_page"
    )


def test_every_setting_says_what_it_is() -> None:
    fields = settings_page.Settings.model_fields
    assert not [name for name, field in fields.items() if not field.description]


def test_every_link_inside_the_docs_leads_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if not target.startswith(("http://", "https://", "mailto:")):
                broken += [] if (page.parent / target).exists() else [f"{page.name}: {target}"]
    assert not broken


@pytest.mark.parametrize("script", ["demo", "test", "setup"])
def test_every_script_says_how_it_is_used(script: str) -> None:
    first, second = (ROOT / "scripts" / script).read_text().splitlines()[:2]
    assert first == "#!/usr/bin/env bash"
    assert second.startswith("# ")
    assert f"scripts/{script}" in README


def test_the_demos_help_names_each_of_its_options() -> None:
    head = (ROOT / "scripts" / "demo").read_text()
    options = {option for parameter in demo.params for option in parameter.opts}
    assert not {option for option in options if option not in head}


def test_every_command_in_the_readme_exists() -> None:
    from scripts.active_labeler import cli

    named = set(re.findall(r"active-labeler ([a-z-]+)", README))
    assert named <= cli.commands.keys()


def test_every_key_in_the_docs_of_a_run_exists() -> None:
    known = run_config_page.keys()
    sections = "|".join(name for name in known if "." not in name and name != "settings")
    for page in ("from-active-labeler.md", "run.md"):
        named = re.findall(rf"`((?:{sections})\.[a-z_.]+)", (ROOT / "docs" / page).read_text())
        assert named, page
        assert not {name.rstrip(".") for name in named} - known.keys(), page


def test_each_row_of_the_seed_has_what_does_it_here() -> None:
    table = (ROOT / "docs" / "from-active-labeler.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", table, re.MULTILINE)[2:]
    assert len(rows) > 30
    for there, here in rows:
        assert "`" in here or there.startswith(("embeddings", "swipe")), there


def test_every_command_in_the_docs_of_a_run_exists() -> None:
    from scripts.active_labeler import cli

    for page in ("from-active-labeler.md", "run.md"):
        named = re.findall(r"active-labeler ([a-z-]+)", (ROOT / "docs" / page).read_text())
        assert set(named) <= cli.commands.keys()
