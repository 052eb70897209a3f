"""active-labeler: connect a Label Studio project to this backend, and look after it.

Exit codes: 0 done; 1 something is wrong (doctor found a failure, a task is unknown); 2 a setting
or argument cannot be used; 3 Label Studio did not answer, or refused; 4 anything else that failed.
"""

from __future__ import annotations

import logging
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from ml_backend import __version__
from ml_backend.errors import ActiveLabelerError, ConfigurationError, LabelStudioError
from scripts.commands import (
    appraisal,
    doctor,
    export,
    fine_tune,
    front,
    imports,
    jobs,
    models,
    projects,
    queue,
    report,
    run,
    services,
    simulate,
)
from scripts.commands.shell import Shell, die

EPILOG = """
Settings come from flags, then the environment, then active-labeler.yaml (or --config FILE).
LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are the two that must be set.

\b
First steps:
  active-labeler serve                                  the web half (gunicorn)
  active-labeler train                                  the learning half, in a second terminal
  active-labeler connect --project 7 --backend-url http://localhost:9090
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="active-labeler")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False), help="A YAML settings file."
)
@click.option("--label-studio-url", help="Where Label Studio is. [env LABEL_STUDIO_URL]")
@click.option("--model-dir", help="Folder of database, embeddings and models. [env MODEL_DIR]")
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]))
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting of docs/settings.md, e.g. --set window=500. Can be repeated.",
)
@click.pass_context
def cli(
    context: click.Context, /, config: str | None, assignments: tuple[str, ...], **flags: Any
) -> None:
    """An ML backend for Label Studio that makes people label less.

    Connect a project, and its labeling queue follows what the model needs to learn next.
    """
    context.obj = Shell.from_flags(config, assignments, flags)


GROUPS = (
    services,
    run,
    imports,
    projects,
    queue,
    front,
    appraisal,
    fine_tune,
    models,
    export,
    simulate,
    doctor,
    jobs,
    report,
)
for command in (command for group in GROUPS for command in group.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """Run the command line; every expected error ends in one sentence and an exit code."""
    try:
        cli(standalone_mode=True)
    except ConfigurationError as error:
        die(error, 2)
    except LabelStudioError as error:
        die(error, 3)
    except ActiveLabelerError as error:
        die(error, 4)
    except (OSError, SQLAlchemyError) as error:  # a full disk, a locked or missing database
        die(error, 4)


if __name__ == "__main__":
    logging.captureWarnings(capture=True)
    main()
