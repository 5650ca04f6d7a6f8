"""`specli inspect`: the facts in the header of a model file."""

from __future__ import annotations

from typing import Annotated

import typer

from specli.cli.completion import models
from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options


@takes("ctx_size", "json")
def inspect(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The model to look at.", autocompletion=models),
    ],
    *,
    options: Options,
) -> None:
    """Show a model's architecture, size, vocabulary, template and memory from its header."""
    from specli.app.inspect import inspect
    from specli.ui.models import facts_table

    found = inspect(model, options.number("ctx_size"))
    sink = Sink.of(options)
    sink.data(found.report())
    sink.show(facts_table(found.rows()))
