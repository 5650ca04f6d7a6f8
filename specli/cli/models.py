"""`specli models`: what is on this machine, and how to be rid of it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from specli.cli import completion, help_page
from specli.cli.output import Sink
from specli.cli.parameters import Folders, takes
from specli.errors import UsageError
from specli.figures import counted, short_bytes
from specli.options import Options

app = typer.Typer(cls=help_page.Group, help="List the models on this machine, or remove some.")


@app.callback(invoke_without_command=True)
@takes("json")
def models(
    context: typer.Context,
    folders: Folders = None,
    *,
    options: Options,
) -> None:
    """List the models that specli, Hugging Face, llama.cpp, LM Studio and Ollama have here."""
    if context.invoked_subcommand is not None:
        return
    from specli.app.models import models_here
    from specli.ui.models import models_table

    here = models_here(folders or [])
    sink = Sink.of(options)
    sink.data(here.report())
    if here.found:
        total = f"{counted(len(here.found), 'model')}, {short_bytes(here.bytes)}"
        sink.show(models_table(here.found), total)
    else:
        sink.say("no models yet: specli pull downloads one, specli run the embedded one")
    if here.unfinished:
        size = short_bytes(here.unfinished_bytes)
        sink.show(f"unfinished, {size}: pull again to finish, or remove")
        sink.show("\n".join(f"  {path}" for path in here.unfinished))


@app.command("rm", cls=help_page.Command)
def remove(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Names as `specli models` lists them.",
            autocompletion=completion.models,
        ),
    ],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Remove models that specli or Hugging Face's cache keeps, after asking."""
    from specli.app import models

    found = models.removable(names)
    size = short_bytes(found.bytes)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "models rm asks before it removes, and there is no terminal to ask on",
                hint="add --yes",
            )
        what = ", ".join(model.name for model in found.found)
        if not typer.confirm(f"Remove {what} ({size})?"):
            return
    models.remove(found)
    Sink().show(f"removed {len(found.found)}, {size}")
