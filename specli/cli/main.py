"""The `specli` command: registers the commands and turns errors into exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import specli
from specli.cli import bench, config, failures, help_page, models, pair, profile
from specli.cli.batch import batch
from specli.cli.chat import chat
from specli.cli.demo import demo
from specli.cli.doctor import doctor
from specli.cli.inspect import inspect
from specli.cli.inspect_run import inspect_run
from specli.cli.output import open_streams
from specli.cli.pull import pull
from specli.cli.run import run
from specli.cli.serve import serve
from specli.cli.tune import tune

EPILOG = (
    "Exit codes: 0 done, 1 failed at run time, 2 wrong usage, 3 pair incompatible, "
    "4 check failed, 5 some of a batch failed, 130 interrupted, 143 terminated."
)

COMMANDS = {
    "demo": demo,
    "run": run,
    "chat": chat,
    "batch": batch,
    "serve": serve,
    "tune": tune,
    "inspect": inspect,
    "inspect-run": inspect_run,
    "doctor": doctor,
    "pull": pull,
}
GROUPS = {
    "pair": pair.app,
    "bench": bench.app,
    "models": models.app,
    "profile": profile.app,
    "config": config.app,
}

app = typer.Typer(
    name="specli",
    cls=help_page.Group,
    help="""Speculative decoding for GGUF models, measured.

    Examples:
      specli run "Why is the sky blue?"
      specli run -m target.gguf -md draft.gguf "Write a haiku"
      specli pair find target.gguf
    """,
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command in COMMANDS.items():
    app.command(_name, cls=help_page.Command)(_command)
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"specli {specli.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 - acted on by its callback
        bool,
        typer.Option(
            "-V", "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    if debug:
        os.environ["SPECLI_DEBUG"] = "1"


def main() -> None:
    """Entry point of the `specli` command."""
    open_streams()
    # Taken anywhere on the line, as people add it when something has failed.
    arguments = sys.argv[1:]
    if "--debug" in arguments and "--" not in arguments:
        arguments.remove("--debug")
        os.environ["SPECLI_DEBUG"] = "1"
    sys.exit(failures.run_app(app, arguments))


if __name__ == "__main__":
    main()
