"""The live view: text as it is accepted, and below it the state of the speculation.

Finished lines are printed above the live region and stay; the terminal wraps them, so copied text
has no extra line breaks. Only the unfinished line and the status are redrawn.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Self

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.live import Live
from rich.segment import ControlType, Segment, Segments
from rich.text import Text

from specli.events import Event, Piece, Prefilled, Stats
from specli.ui.status import status_rows
from specli.ui.text import add_pieces, rows_of, styled

REFRESH_SECONDS = 1 / 12


class LiveView:
    """Shows events on a terminal while its context is entered.

    The generating thread only passes events on; it spends its time in native code without the
    interpreter's lock, and the view's own thread draws meanwhile.
    """

    def __init__(self, console: Console, refresh_seconds: float = REFRESH_SECONDS) -> None:
        self._console = console
        self._refresh_seconds = refresh_seconds
        self._lock = threading.Lock()
        self._pending: list[Piece] = []
        self._prefilled: Prefilled | None = None
        self._stats = Stats()
        self._changed = True
        self._line: list[Piece] = []
        self._region = _Region()
        self._live = Live(
            self._region,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            # Output redirected to a file must not appear on the terminal.
            redirect_stderr=sys.stderr.isatty(),
            vertical_overflow="crop",
        )
        self._hook = _DrawnAtOnce()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw_until_over, name="live", daemon=True)
        self._failure: Exception | None = None

    def event(self, event: Event, stats: Stats) -> None:
        """Take one event and the statistics after it, without drawing.

        Raises the error of the last write to the terminal, if there was one.
        """
        if self._failure is not None:
            raise self._failure
        # A copy, because the generating thread changes the original while this is drawn.
        copy = replace(stats, recent=list(stats.recent), by_drafter=dict(stats.by_drafter))
        with self._lock:
            if isinstance(event, Prefilled):
                self._prefilled = event
            else:
                self._pending += event.pieces
            self._stats = copy
            self._changed = True

    @property
    def stats(self) -> Stats:
        """The figures of the last event."""
        with self._lock:
            return self._stats

    def refresh(self) -> None:
        """Draw what has arrived since the last call, if anything, in one write."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            pieces, self._pending = self._pending, []
            status = partial(status_rows, self._stats, self._prefilled)
        finished = self._finished_lines(pieces)
        self._region.line, self._region.status = styled(self._line), status
        if finished:
            # Rich redraws the region in the same write.
            self._console.print(Text("\n").join(finished), soft_wrap=True)
        else:
            self._live.refresh()

    def _finished_lines(self, pieces: list[Piece]) -> list[Text]:
        """Append to the last line, and return the completed lines."""
        lines = [self._line]
        add_pieces(lines, pieces)
        self._line = lines.pop()
        return [styled(line) for line in lines]

    def _draw_until_over(self) -> None:
        while not self._over.wait(self._refresh_seconds):
            try:
                self.refresh()
            except (OSError, ValueError) as error:  # the terminal is gone, or cannot show this
                self._failure = error
                return

    def __enter__(self) -> Self:
        self._live.start()
        self._console.push_render_hook(self._hook)
        self.refresh()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Keep the text and remove the status."""
        self._over.set()
        self._thread.join()
        try:
            if self._failure is None:
                self.refresh()
                self._region.line, self._region.status = Text(), _no_status
                if any(piece.text for piece in self._line):
                    self._console.print(styled(self._line), soft_wrap=True)
        finally:
            self._console.pop_render_hook()
            self._live.stop()


def _no_status(_width: int) -> list[Text]:
    return []


class _Region:
    """The unfinished line and the status; if the line is too high for the window, its end.

    One mutable object, because Rich would draw a new one separately, after the finished lines.
    """

    def __init__(self) -> None:
        self.line = Text()
        self.status: Callable[[int], list[Text]] = _no_status

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # `options` may come from a print that neither wraps nor crops, so rows are made here.
        status = self.status(options.max_width)
        room = max(1, console.height - len(status))
        for row in rows_of(self.line, options.max_width)[-room:] + status:
            yield from row.render(console, end="\n")


class _DrawnAtOnce(RenderHook):
    """Marks each write as one synchronised update, so that no half-drawn region is visible.

    Terminals without this private mode ignore it.
    """

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_control("\x1b[?2026h"), *renderables, _control("\x1b[?2026l")]


def _control(sequence: str) -> Segments:
    return Segments([Segment(sequence, None, [(ControlType.CARRIAGE_RETURN,)])])
