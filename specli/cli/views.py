"""The views of a generation: live on a terminal, plain text in a pipe, nothing for JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from specli.app.follow import Silent, View
from specli.cli.collector import freeze_loaded
from specli.cli.output import Sink, console
from specli.events import Event, Prefilled, Stats
from specli.ui.live import LiveView
from specli.ui.summary import summary_line, summary_table
from specli.ui.text import harmless


class PlainText:
    """Only the text, as soon as it is there: for pipes and files."""

    def __init__(self) -> None:
        self.stats = Stats()
        self._last = ""

    def event(self, event: Event, stats: Stats) -> None:
        self.stats = stats
        if isinstance(event, Prefilled):
            return
        text = "".join(piece.text for piece in event.pieces)
        self._last = text[-1:] or self._last
        sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()

    def end(self) -> None:
        """End the last line of the text."""
        if self._last not in ("", "\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()


@contextmanager
def run_view(sink: Sink) -> Iterator[View]:
    """The view that fits where the output goes; the figures follow the text."""
    freeze_loaded()
    if sink.json:
        yield Silent()
    elif sink.quiet or not sys.stdout.isatty():
        plain = PlainText()
        yield plain
        plain.end()
        sink.remark(summary_line(plain.stats))
    else:
        terminal = console()
        with LiveView(terminal) as live:
            yield live
        terminal.print(summary_table(live.stats))
