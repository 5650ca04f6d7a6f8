"""The `specli` command: registers the commands and turns errors into exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import specli
from specli.cli import bench, failures, models, pair, profile
from specli.cli.batch import batch
from specli.cli.doctor import doctor
from specli.cli.inspect import inspect
from specli.cli.pull import pull
from specli.cli.run import run
from specli.cli.tune import tune

EPILOG = (
    "Exit codes: 0 done, 1 failed at run time, 2 wrong usage, 3 pair incompatible, "
    "4 check failed, 5 some of a batch failed, 130 interrupted, 143 terminated."
)

app = typer.Typer(
    name="specli",
    help="Speculative decoding for GGUF models, measured.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("run", epilog=EPILOG)(run)
app.command("batch", epilog=EPILOG)(batch)
app.add_typer(pair.app, name="pair")
app.add_typer(bench.app, name="bench", epilog=EPILOG)
app.command("tune", epilog=EPILOG)(tune)
app.command("inspect")(inspect)
app.command("doctor")(doctor)
app.command("pull")(pull)
app.add_typer(models.app, name="models")
app.add_typer(profile.app, name="profile")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"specli {specli.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 - acted on by its callback
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Speculative decoding for GGUF models, measured."""
    if debug:
        os.environ["SPECLI_DEBUG"] = "1"


def main() -> None:
    """Entry point of the `specli` command."""
    # A flag that stands anywhere on the line, as people type it when something has failed.
    arguments = sys.argv[1:]
    if "--debug" in arguments and "--" not in arguments:
        arguments.remove("--debug")
        os.environ["SPECLI_DEBUG"] = "1"
    sys.exit(failures.guarded(lambda: app(arguments, prog_name="specli")))


if __name__ == "__main__":
    main()
