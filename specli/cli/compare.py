"""`specli run --compare` on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from specli.cli.failures import INTERRUPTED
from specli.cli.output import Sink, console, freeze_loaded
from specli.figures import rounded
from specli.options import Options

if TYPE_CHECKING:
    from specli.app.race import OnEvent, Race


def compare(sink: Sink, options: Options, text: str) -> None:
    """Run a prompt with and without drafting and show both."""
    from specli.app.side_by_side import side_by_side
    from specli.ui.race import race_summary

    made = side_by_side(options, text, sink.feedback(), lambda: _view(sink))
    sink.data(report(made), indent=None)
    if not sink.json:
        if not _has_panes(sink):
            sink.write(f"{made.drafted.text}\n")
        sink.asked(race_summary(made.plain.stats, made.drafted.stats, made.speedup))
        parted = made.same_tokens
        if parted is not None and not made.interrupted:
            sink.remark(f"note: the texts differ from token {parted + 1} on; --check says why")
    if made.interrupted:
        raise typer.Exit(INTERRUPTED)


def report(made: Race) -> dict[str, object]:
    """A comparison as JSON: both texts with their figures."""
    return {
        "speedup": rounded(made.speedup, 3),
        "same_text": made.same_tokens is None,
        **{
            name: one.stats.report(one.text, one.finish)
            for name, one in (("plain", made.plain), ("drafted", made.drafted))
        },
    }


def _has_panes(sink: Sink) -> bool:
    from specli.ui.bars import has_bars

    return not (sink.json or sink.quiet) and sys.stdout.isatty() and has_bars(console())


@contextmanager
def _view(sink: Sink) -> Iterator[OnEvent]:
    from specli.ui.race import Panes

    freeze_loaded()
    if not _has_panes(sink):
        yield lambda _side, _event, _stats: None
        return
    with Panes(console()) as panes:
        yield panes.event
