"""`specli inspect-run`: every token of a run that was kept as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specli.cli.output import Sink
from specli.files import write_text

if TYPE_CHECKING:
    from specli.inspection import InspectedRun


def inspect_run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.json", help="What run --json --inspect wrote.")
    ],
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page instead.")
    ] = None,
) -> None:
    """Show every token of a run: its source, confidence and rank, and what was rejected.

    Examples:
      specli run --json --inspect "Why is the sky blue?" > run.json
      specli inspect-run run.json
      specli inspect-run run.json --html run.html
    """
    from specli.inspection import read_run
    from specli.ui.inspection import inspection

    run, sink = read_run(file), Sink()
    if html_file is not None:
        write_page(sink, run, html_file)
    else:
        sink.show(inspection(run.rounds))


def write_page(sink: Sink, run: InspectedRun, path: Path) -> None:
    """Write the page of a run. Raises SpecliError where that is impossible."""
    from specli.ui.inspection_page import page

    write_text(path, page(run))
    sink.remark(f"wrote {path}")
