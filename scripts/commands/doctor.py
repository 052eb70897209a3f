"""doctor: name each thing that can silently break the loop, and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import click
from rich.markup import escape
from rich.table import Table

from ml_backend.records import Finding
from scripts.commands.shell import Shell, as_json, print_json, project_option, stdout

MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failure": "[bold red]FAILURE[/]"}


@click.command()
@project_option
@as_json
@click.pass_obj
def doctor(shell: Shell, project_id: int, as_json: bool) -> None:
    """Check everything that can silently break the loop. Changes nothing, takes no lock.

    Exit code 1 where something is broken; warnings alone end with 0.
    """
    from ml_backend import wiring

    settings = shell.settings
    findings = wiring.diagnose(settings, wiring.open_store(settings), project_id)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print_findings(findings)
    raise SystemExit(int(any(finding.state == "failure" for finding in findings)))


def print_findings(findings: Sequence[Finding]) -> None:
    """Draw the table."""
    table = Table("check", "", "what was found", box=None, pad_edge=False)
    for finding in findings:
        remedy = f"\n→ {escape(finding.remedy)}" if finding.remedy else ""
        table.add_row(finding.check, MARKS[finding.state], escape(finding.detail) + remedy)
    stdout.print(table)


COMMANDS = (doctor,)
