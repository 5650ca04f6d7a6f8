"""`specli tune` while it measures, and what it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from specli.bench.evidence import Row, spread
from specli.bench.tuner import Standing

NARROW = 72
"""Columns below which the table says only how fast each setting is."""


class Watch(Protocol):
    """Is told where a search stands after every measurement."""

    def __call__(self, standing: Standing, elapsed: float) -> None: ...


@contextmanager
def watching(budget: float, *, quiet: bool, console: Console | None = None) -> Iterator[Watch]:
    """Shows a search of `budget` seconds: a bar on a terminal, else a line for each stage."""
    console = console or Console(stderr=True)
    if quiet:
        yield lambda _standing, _elapsed: None
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
    # Rare redraws: what draws the bar is measured along.
    with Progress(
        bar, _Left(), stage, best, console=console, expand=True, refresh_per_second=2
    ) as bars:
        task = bars.add_task("loading", total=budget, best="")

        def show(standing: Standing, elapsed: float) -> None:
            bars.update(task, description=_where(standing), completed=elapsed, best=standing.best)

        yield show


class _Left(ProgressColumn):
    """The part of the budget that is left, as minutes and seconds."""

    def render(self, task: Task) -> Text:
        left = max(0, round((task.total or 0) - (task.elapsed or 0)))
        return Text(f"{left // 60}:{left % 60:02} left", style="progress.remaining")


def _where(standing: Standing) -> str:
    return f"{standing.stage}, {standing.rivals} left" if standing.rivals else standing.stage


class _Lines:
    """One line of plain text when a stage begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""

    def __call__(self, standing: Standing, elapsed: float) -> None:
        if standing.stage == self._stage:
            return
        self._stage = standing.stage
        line = f"{elapsed:.0f} s: {_where(standing)}"
        if standing.best:
            line += f"; {standing.best}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def outcome(rows: Sequence[Row], width: int) -> RenderableType:
    """The settings that were measured, those still there first."""
    wide = width >= NARROW
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("setting", overflow="fold")
    for heading in ("tok/s", "of plain", "quartiles", "passes") if wide else ("of plain", "passes"):
        table.add_column(heading, justify="right", no_wrap=True)
    if wide:
        table.add_column("", overflow="fold")
    for row in rows:
        if wide:
            figures = f"{row.speed:.1f}", f"{row.speedup:.2f}", spread(row), str(row.passes)
            cells = [*figures, _fate(row)]
        else:
            cells = [f"{row.speedup:.2f}", str(row.passes)]
        style = "bold" if row.chosen else "dim" if row.left is not None else ""
        table.add_row(Text(row.name), *cells, style=style)
    return table


def _fate(row: Row) -> str:
    if row.left is not None:
        return f"{row.left.stage}: {row.left.reason}"
    return "chosen" if row.chosen else ""
