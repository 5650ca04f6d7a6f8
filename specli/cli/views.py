"""The views of a generation: live on a terminal, plain text in a pipe, nothing for JSON."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.text import Text

from specli.app.follow import Silent, View
from specli.app.legend import legend_due
from specli.cli.output import Sink, console, freeze_loaded
from specli.events import Event, Prefilled, Stats
from specli.ui.bars import has_bars
from specli.ui.legend import legend
from specli.ui.live import LiveView
from specli.ui.summary import summary_line, summary_table
from specli.ui.waiting import WaitingLine


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
        Sink().write(text)

    def end(self) -> None:
        """End the last line of the text."""
        if self._last not in ("", "\n"):
            Sink().write("\n")


class _Watched:
    """A view of the text, and a line on stderr meanwhile."""

    def __init__(self, text: View | None, line: WaitingLine, *, throughout: bool) -> None:
        self._text, self._line, self._throughout = text, line, throughout

    def event(self, event: Event, stats: Stats) -> None:
        if not self._throughout and not isinstance(event, Prefilled):
            self._line.end()
        self._line.event(event, stats)
        if self._text is not None:
            self._text.event(event, stats)


@contextmanager
def run_view(sink: Sink, *, explained: bool = False) -> Iterator[View]:
    """The view that fits where the output goes; the figures follow the text.

    The legend follows them where it is asked for (`explained`), and the first few times.
    """
    freeze_loaded()
    terminal = console()
    if sink.json or sink.quiet or not has_bars(terminal):
        with _plain_view(sink) as view:
            yield view
    else:
        with LiveView(terminal) as live:
            yield live
        terminal.print(summary_table(live.stats))
        if explained or legend_due():
            terminal.print("", legend(), sep="\n")
            if not explained:
                terminal.print("  specli run --legend shows this again", style="dim")


@contextmanager
def _plain_view(sink: Sink) -> Iterator[View]:
    text = None if sink.json else PlainText()
    with ExitStack() as stack:
        view: View | None = text
        if not sink.quiet and (sink.json or not sys.stdout.isatty()):
            stderr = console(stderr=True)
            if has_bars(stderr):
                line = stack.enter_context(WaitingLine(stderr))
                # What reads a pipe may write to the same terminal.
                view = _Watched(text, line, throughout=sink.json or _is_file())
        yield view or Silent()
    if text is not None:
        text.end()
        sink.remark(summary_line(text.stats))


def _is_file() -> bool:
    return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)


@contextmanager
def chat_view(sink: Sink) -> Iterator[View]:
    """The same for one of many answers: one line of figures on a terminal, none in a pipe."""
    if not sys.stdout.isatty():
        plain = PlainText()
        yield plain
        plain.end()
        return
    with LiveView(console()) as live:
        yield live
    # Else the figures would look like the end of the answer.
    sink.remark(Text(summary_line(live.stats), "dim"))
