"""Progress of a bench on stderr, redrawn between runs and never during one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import Progress, TextColumn

from specli.figures import duration
from specli.ui.bars import bar_column, has_bars, print_line, text_column
from specli.ui.terminal import Terminal

Watch = Callable[[str, int], None]
"""Called with what was measured last and the number of runs done."""

_LINES = 10
"""Approximate number of log lines for a whole bench."""


@contextmanager
def watching(
    total: int,
    *,
    quiet: bool,
    console: Console | None = None,
    clock: Callable[[], float] = monotonic,
) -> Iterator[Watch]:
    """Show a bench of `total` runs: a bar on a terminal, else about ten lines."""
    console = console or Terminal(stderr=True)
    began = clock()

    def left(done: int) -> str:
        return f"{duration((clock() - began) / done * (total - done))} left" if done else ""

    def line(_what: str, done: int) -> None:
        if done and done % max(1, total // _LINES) == 0:
            print_line(console, f"{done} of {total} runs, {left(done)}")

    if quiet:
        yield lambda _what, _done: None
    elif not has_bars(console):
        yield line
    else:
        columns = (
            bar_column(1),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[left]}"),
            text_column("{task.description}", 1),
        )
        # A thread that redraws the bar would affect the measurement.
        with Progress(
            *columns, console=console, expand=True, auto_refresh=False, transient=True
        ) as bars:
            task = bars.add_task("loading", total=total, left="")

            def show(what: str, done: int) -> None:
                bars.update(task, description=what, completed=done, left=left(done), refresh=True)

            yield show
