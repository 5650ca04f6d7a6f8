"""Progress and result of `specli tune`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from specli.bench.evidence import Row, spread
from specli.bench.tuner import SearchState

NARROW = 72
"""Columns below which the table has only the speed-up of each setting."""


class Watch(Protocol):
    """Called with the state of a search after every measurement."""

    def __call__(self, state: SearchState, elapsed: float) -> None: ...


@contextmanager
def watching(budget: float, *, quiet: bool, console: Console | None = None) -> Iterator[Watch]:
    """Show a search of `budget` seconds: a bar on a terminal, else a line per stage."""
    console = console or Console(stderr=True)
    if quiet:
        yield lambda _state, _elapsed: None
        return
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console)
        return
    stage = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    best = TextColumn(
        "{task.fields[best]}",
        markup=False,
        table_column=Column(ratio=3, no_wrap=True, overflow="ellipsis"),
    )
    bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=8))
    # Rare redraws, because drawing affects the measurement.
    with Progress(
        bar, _Left(), stage, best, console=console, expand=True, refresh_per_second=2
    ) as bars:
        task = bars.add_task("loading", total=budget, best="")

        def show(state: SearchState, elapsed: float) -> None:
            bars.update(task, description=_where(state), completed=elapsed, best=state.best)

        yield show


class _Left(ProgressColumn):
    """The remaining budget in minutes and seconds."""

    def render(self, task: Task) -> Text:
        left = max(0, round((task.total or 0) - (task.elapsed or 0)))
        return Text(f"{left // 60}:{left % 60:02} left", style="progress.remaining")


def _where(state: SearchState) -> str:
    return f"{state.stage}, {state.rivals} left" if state.rivals else state.stage


class _Lines:
    """One line of plain text per stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""

    def __call__(self, state: SearchState, elapsed: float) -> None:
        if state.stage == self._stage:
            return
        self._stage = state.stage
        line = f"{elapsed:.0f} s: {_where(state)}"
        if state.best:
            line += f"; {state.best}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def outcome(rows: Sequence[Row], width: int) -> RenderableType:
    """The measured settings, those that remained first."""
    wide = width >= NARROW
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("setting", overflow="fold")
    for heading in ("tok/s", "speed-up", "quartiles", "passes") if wide else ("speed-up", "passes"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("", overflow="fold")
    for row in rows:
        if wide:
            figures = f"{row.speed:.1f}", f"{row.speedup:.2f}", spread(row), str(row.passes)
            cells = [*figures, _outcome(row)]
        else:
            cells = [f"{row.speedup:.2f}", str(row.passes)]
        style = "bold" if row.chosen else "dim" if row.left is not None else ""
        table.add_row(Text(row.name), *cells, style=style)
    return table


def _outcome(row: Row) -> str:
    if row.left is not None:
        return f"{row.left.stage}: {row.left.reason}"
    return "chosen" if row.chosen else ""
