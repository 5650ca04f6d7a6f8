"""Generations with and without drafting: two panes while they run, and tables of figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Self

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from specli.events import Event, Piece, Prefilled, Stats
from specli.figures import counted, number, percent
from specli.ui.bars import has_bars
from specli.ui.status import reading
from specli.ui.summary import ALIKE, verdict
from specli.ui.text import add_pieces, styled

TITLES = {"plain": "without drafting", "drafted": "with drafting"}
SIDE_BY_SIDE = 56
"""Columns from which two panes fit side by side."""
REFRESH_SECONDS = 1 / 12
LONGEST_BAR = 30
WIDE = 72
"""Columns from which a table has both speeds."""


class Panes:
    """Shows both generations while its context is entered, and their whole texts at its end.

    Drawing is done between rounds, when neither side's clock runs.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = monotonic) -> None:
        self._console = console
        self._clock = clock
        self._drawn = float("-inf")
        self._lines: dict[str, list[list[Piece]]] = {name: [[]] for name in TITLES}
        self._status = dict.fromkeys(TITLES, reading(None))
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def event(self, side: str, event: Event, stats: Stats) -> None:
        """Take an event of one side, and draw both now and then."""
        if isinstance(event, Prefilled):
            self._status[side] = reading(event)
        else:
            add_pieces(self._lines[side], event.pieces)
            self._status[side] = _status(stats)
        if self._clock() - self._drawn >= REFRESH_SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._drawn = self._clock()
        self._live.update(self._both(self._console.height - 3), refresh=True)

    def _both(self, most: int | None) -> RenderableType:
        width = self._console.width
        if width >= SIDE_BY_SIDE:
            each = (width - 3) // 2
            panes = [self._pane(side, each, most) for side in TITLES]
            table = Table.grid(padding=(0, 3, 0, 0))
            for _side in TITLES:
                table.add_column(width=each, no_wrap=True)
            table.add_row(*panes)
            return table
        half = None if most is None else most // 2 - 1
        return Group(*(self._pane(side, width, half) for side in TITLES))

    def _pane(self, side: str, width: int, most: int | None) -> Text:
        """Title, the end of the text in at most `most` rows, and the figures."""
        lines = self._lines[side] if most is None else self._lines[side][-most:]
        rows = [
            row
            for line in lines
            for row in styled(line).wrap(self._console, width, overflow="fold")
        ]
        shown = rows if most is None else rows[-max(most - 2, 1) :]
        status = Text(fitted(self._status[side], width), "dim")
        status.truncate(width)
        return Text("\n").join([Text(TITLES[side], "bold"), *shown, status])

    def __enter__(self) -> Self:
        self._live.start()
        self._draw()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()
        self._console.print(self._both(None))


@contextmanager
def announcing(*, quiet: bool, console: Console) -> Iterator[Callable[[str], None]]:
    """A function that says on one line what is measured; it draws only when it is called, because
    a thread that redraws would disturb the measurement."""
    if quiet or not has_bars(console):
        yield lambda _what: None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda what: live.update(Text(what, "dim", no_wrap=True), refresh=True)


def fitted(status: str, width: int) -> str:
    """A line of figures without the time, and then without the others, where it is too long."""
    tokens, *figures = status.split("  ")
    for shown in ([tokens, *figures], [tokens, *figures[1:]], [tokens]):
        if len("  ".join(shown)) <= width:
            break
    return "  ".join(shown)


def _status(stats: Stats) -> str:
    tokens, speed = counted(stats.predicted_n, "token"), number(stats.predicted_per_second, 1)
    parts = [tokens, f"{stats.predicted_ms / 1000:.1f} s", f"{speed} tok/s"]
    if stats.drafted:
        parts.append(f"{percent(stats.acceptance_rate)} accepted")
    return "  ".join(parts)


def race_summary(plain: Stats, drafted: Stats, speedup: float | None) -> RenderableType:
    """The verdict on one comparison, how it was timed, and its two speeds."""
    lines: list[RenderableType] = [Text()]
    if speedup is not None:
        style = "bold green" if speedup > 1 - ALIKE else "bold yellow"
        lines += [Text(verdict(speedup), style), Text()]
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, stats in (("plain", plain), ("drafted", drafted)):
        table.add_row(f"  {TITLES[name]}", _status(stats))
    note = "The two took turns, one round each, each on its own clock; prompts are not counted."
    return Group(*lines, table, Text(note, "dim"))


Row = tuple[str, float | None, float | None, float | None]
"""A task, its tokens per second without and with drafting, and the speed-up."""


def race_table(rows: Sequence[Row], width: int) -> RenderableType:
    """A row for each task: its speeds, and the speed-up as a bar against one without drafting."""
    wide = width >= WIDE
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("tok/s" if wide else "", overflow="fold")
    if wide:
        table.add_column("without", justify="right", no_wrap=True)
        table.add_column("with drafting", justify="right", no_wrap=True)
    table.add_column("speed-up", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    longest = max([1.0, *(speedup for *_row, speedup in rows if speedup)])
    taken = max(len(name) for name, *_row in rows) + (39 if wide else 14)
    room = max(4, min(LONGEST_BAR, width - taken))
    for name, plain, drafted, speedup in rows:
        colour = "green" if speedup and speedup >= 1 else "red"
        bar = Bar(longest, 0, speedup or 0, width=room, color=colour)
        cells: list[RenderableType] = [name]
        if wide:
            cells += [number(plain, 1), number(drafted, 1)]
        table.add_row(*cells, f"{number(speedup, 2)}×", bar)
    return table
