"""Progress of a bench on stderr, redrawn between runs and never during one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from specli.ui.batch import duration

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
    console = console or Console(stderr=True)
    began = clock()

    def left(done: int) -> str:
        if not done:
            return ""
        return f"{duration((clock() - began) / done * (total - done))} left"

    if quiet:
        yield lambda _what, _done: None
    elif not console.is_terminal or console.is_dumb_terminal:
        yield _lines(console, total, left)
    else:
        what_column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = (
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}", markup=False, table_column=what_column),
        )
        # A thread that redraws the bar would affect the measurement.
        with Progress(
            *columns, console=console, expand=True, auto_refresh=False, transient=True
        ) as bars:
            task = bars.add_task("loading", total=total, left="")

            def show(what: str, done: int) -> None:
                bars.update(task, description=what, completed=done, left=left(done), refresh=True)

            yield show


def _lines(console: Console, total: int, left: Callable[[int], str]) -> Watch:
    step = max(1, total // _LINES)

    def line(_what: str, done: int) -> None:
        if done and done % step == 0:
            text = f"{done} of {total} runs, {left(done)}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    return line
