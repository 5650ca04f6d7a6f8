"""`specli models`: what is on this machine, and how to be rid of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli import help_page
from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from specli.hub.local import LocalModel

app = typer.Typer(cls=help_page.Group, help="List the models on this machine, or remove some.")


@app.callback(invoke_without_command=True)
@takes("json")
def models(
    context: typer.Context,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--dir", metavar="DIR", exists=True, file_okay=False, help="Look below DIR as well."
        ),
    ] = None,
    *,
    options: Options,
) -> None:
    """List the models that specli, Hugging Face, llama.cpp, LM Studio and Ollama have here."""
    if context.invoked_subcommand is not None:
        return
    from specli.hub.local import local_models, unfinished_downloads

    found = local_models(folders or [])
    sink = Sink.of(options)
    sink.data({"models": [_json(model) for model in found]})
    if found:
        _show(found, sink)
    else:
        sink.show("no models yet: specli pull downloads one, specli run the embedded one")
    unfinished = unfinished_downloads()
    if unfinished:
        _show_unfinished(unfinished, sink)


@app.command("rm", cls=help_page.Command)
def remove(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names as `specli models` lists them.")
    ],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Remove models that specli or Hugging Face's cache keeps, after asking."""
    from specli.errors import UsageError
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


def _show(found: list[LocalModel], sink: Sink) -> None:
    from rich.table import Table
    from rich.text import Text

    from specli.pairs.quantities import short_bytes
    from specli.ui.figures import counted

    table = Table(box=None, padding=(0, 1))
    table.add_column("model", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("kept by", no_wrap=True)
    for model in found:
        table.add_row(Text(model.name), short_bytes(model.size), model.origin)
    count = counted(len(found), "model")
    sink.show(table, f"{count}, {short_bytes(sum(model.size for model in found))}")


def _show_unfinished(paths: list[Path], sink: Sink) -> None:
    from specli.hub.progress import file_size
    from specli.pairs.quantities import short_bytes

    size = short_bytes(sum(file_size(path) for path in paths))
    sink.show(f"unfinished, {size}: pull again to finish, or remove")
    for path in paths:
        sink.show(f"  {path}")
