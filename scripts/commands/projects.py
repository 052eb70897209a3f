"""connect and detach: put a project under the loop, and take it away without a trace."""

from __future__ import annotations

import dataclasses

import click

from scripts.commands.doctor import print_findings
from scripts.commands.rounds import claimed, run_now, summary
from scripts.commands.shell import (
    Shell,
    as_json,
    print_json,
    progress_bars,
    project_option,
    require,
    stdout,
)


@click.command()
@project_option
@click.option(
    "--backend-url",
    required=True,
    help="Where Label Studio reaches this backend, e.g. http://localhost:9090. In a network of "
    "containers use a name with a dot: Label Studio makes no webhook for others.",
)
@click.option("--control", help="Name of the <Choices> to learn, where the config has several.")
@as_json
@click.pass_obj
def connect(
    shell: Shell, project_id: int, backend_url: str, control: str | None, as_json: bool
) -> None:
    """Connect a project: its queue follows the model from now on.

    Checks Label Studio, token and labeling config; registers backend and webhook; embeds the
    images; publishes a first, diverse order; ends with doctor's table. Running it again repairs
    what is broken and changes nothing else. `serve` must be running: Label Studio calls it.
    """
    from ml_backend import connecting, wiring

    settings = shell.settings
    store = wiring.open_store(settings)
    around = wiring.surroundings(settings, store, project_id)
    project = connecting.connect(around, backend_url.rstrip("/"), control)
    with progress_bars() as on_progress:
        done = run_now(settings, store, project.project_id, on_progress, patient=True)
    findings = wiring.diagnose(settings, store, project_id)
    failed = any(finding.state == "failure" for finding in findings)
    if as_json:
        answer = {"project": project_id, "round": summary(done), "connected": not failed}
        print_json({**answer, "doctor": [dataclasses.asdict(finding) for finding in findings]})
    else:
        _tell(project.title, settings.links_url, project_id, summary(done))
        print_findings(findings)
    raise SystemExit(1 if failed else 0)


@click.command()
@project_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def detach(shell: Shell, project_id: int, yes: bool, as_json: bool) -> None:
    """Disconnect a project and put every setting back as it was found.

    Removes our webhook, our backend and our predictions from Label Studio. Annotations and other
    people's predictions are not touched. Embeddings stay on disk: connecting again is quick.
    """
    from ml_backend import connecting, wiring

    settings = shell.settings
    store = wiring.open_store(settings)
    project = require(store.get_project(project_id), f"project {project_id} is not connected here")
    if not yes and not as_json:
        click.confirm(f"Disconnect project {project_id} ({project.title})?", abort=True)
    around = wiring.surroundings(settings, store, project_id)
    with claimed(store, project_id, "detach"):  # a round at work would switch the queue back
        gone = connecting.detach(around, project)
    if as_json:
        print_json({"project": project_id, **dataclasses.asdict(gone)})
    else:
        stdout.print(
            f"Project {project_id} is as it was: {gone.predictions} predictions of "
            f"{gone.versions} versions, webhook and backend removed."
        )


def _tell(title: str, url: str, project_id: int, done: dict[str, object]) -> None:
    stdout.print(
        f"[bold]{title}[/]: queue {done['state']}, version {done['version']}. Annotators press "
        f"Label All Tasks at {url}/projects/{project_id}/data",
        highlight=False,
    )


COMMANDS = (connect, detach)
