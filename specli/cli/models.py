"""`specli models`: what is on this machine, and how to be rid of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli import completion, help_page
from specli.cli.output import Sink
from specli.cli.parameters import Folders, takes
from specli.errors import UsageError
from specli.options import Options

if TYPE_CHECKING:
    from specli.hub.local import LocalModel

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
    from rich.table import Table
    from rich.text import Text

    from specli.hub.local import local_models, unfinished_downloads
    from specli.hub.progress import file_size
    from specli.pairs.quantities import short_bytes
    from specli.ui.figures import counted

    found = local_models(folders or [])
    sink = Sink.of(options)
    sink.data({"models": [_json(model) for model in found]})
    table = Table(box=None, padding=(0, 1))
    table.add_column("model", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("kept by", no_wrap=True)
    for model in found:
        table.add_row(Text(model.name), short_bytes(model.size), model.origin)
    if found:
        size = short_bytes(sum(model.size for model in found))
        sink.show(table, f"{counted(len(found), 'model')}, {size}")
    else:
        sink.show("no models yet: specli pull downloads one, specli run the embedded one")
    unfinished = unfinished_downloads()
    if unfinished:
        size = short_bytes(sum(map(file_size, unfinished)))
        lines = [f"unfinished, {size}: pull again to finish, or remove"]
        sink.show("\n".join([*lines, *(f"  {path}" for path in unfinished)]))


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
    from specli.hub.local import local_models, named, remove_model, require_removable
    from specli.pairs.quantities import short_bytes

    here = local_models()
    found = []
    for name in names:
        model = named(name, here)
        if model is None:
            raise UsageError(f"no model here is called {name!r}", hint="specli models lists them")
        require_removable(model)
        found.append(model)
    size = short_bytes(sum(model.size for model in found))
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "models rm asks before it removes, and there is no terminal to ask on",
                hint="add --yes",
            )
        what = ", ".join(model.name for model in found)
        if not typer.confirm(f"Remove {what} ({size})?"):
            return
    for model in found:
        remove_model(model)
    Sink().show(f"removed {len(found)}, {size}")


def _json(model: LocalModel) -> dict[str, object]:
    return {
        "name": model.name,
        "origin": model.origin,
        "bytes": model.size,
        "files": [str(part) for part in model.parts],
    }
