"""One line about a generation whose text goes elsewhere: how far prompt and answer are."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from specli.events import Event, Prefilled, Stats
from specli.figures import counted, number
from specli.ui.status import reading

REFRESH_SECONDS = 0.1


class WaitingLine:
    """Shows events on one line of a terminal while its context is entered, then nothing."""

    def __init__(self, console: Console, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._drawn = float("-inf")
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def event(self, event: Event, stats: Stats) -> None:
        if self._clock() - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = self._clock()
        line = reading(event) if isinstance(event, Prefilled) else _generating(stats)
        self._draw(line)

    def _draw(self, line: str) -> None:
        text = Text(line, "dim", no_wrap=True, overflow="ellipsis")
        self._live.update(text, refresh=True)

    def end(self) -> None:
        """Remove the line; what comes after is not shown any more."""
        self._drawn = float("inf")
        self._live.stop()

    def __enter__(self) -> Self:
        self._live.start()
        self._draw(reading(None))
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()


def _generating(stats: Stats) -> str:
    tokens = counted(stats.predicted_n, "token")
    return f"generating  {tokens}  {number(stats.predicted_per_second, 1)} tok/s"
