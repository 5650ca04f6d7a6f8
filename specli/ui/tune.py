"""Progress and result of `specli tune`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Table
from rich.text import Text

from specli.bench.evidence import Row, spread
from specli.bench.tuner import SearchState
from specli.figures import counted
from specli.ui.bars import bar_column, has_bars, print_line, text_column
from specli.ui.terminal import Terminal

NARROW = 72
"""Columns below which the table and the bar have only the speed-up of a setting."""


Watch = Callable[[SearchState, float], None]
"""Called with the state of a search and the seconds so far, after every measurement."""


@contextmanager
def watching(budget: float, *, quiet: bool, console: Console | None = None) -> Iterator[Watch]:
    """Show a search of `budget` seconds: a bar on a terminal, else a line per stage."""
    console = console or Terminal(stderr=True)
    if quiet:
        yield lambda _state, _elapsed: None
        return
    if not has_bars(console):
        yield _lines(console)
        return
    wide = console.width >= NARROW
    columns: list[ProgressColumn] = [bar_column(1, 8)] if wide else []
    columns += [
        _Left(),
        text_column("{task.description}"),
        text_column("{task.fields[best]}", 3 if wide else None),
    ]
    # Rare redraws, because drawing affects the measurement.
    with Progress(*columns, console=console, expand=wide, refresh_per_second=2) as bars:
        task = bars.add_task("loading", total=budget, best="")

        def show(state: SearchState, elapsed: float) -> None:
            # A long name is cut at its end.
            best = state.best if wide else state.best.partition(":")[0].removeprefix("best ")
            bars.update(task, description=_stage(state), completed=elapsed, best=best)

        yield show


class _Left(ProgressColumn):
    """The remaining budget in minutes and seconds."""

    def render(self, task: Task) -> Text:
        left = max(0, round((task.total or 0) - (task.elapsed or 0)))
        return Text(f"{left // 60}:{left % 60:02} left", style="progress.remaining")


def _stage(state: SearchState) -> str:
    return f"{state.stage}, {counted(state.rivals, 'setting')}" if state.rivals else state.stage


def _lines(console: Console) -> Watch:
    """A line for each stage."""
    stages = {""}

    def line(state: SearchState, elapsed: float) -> None:
        if state.stage not in stages:
            stages.add(state.stage)
            best = f"; {state.best}" if state.best else ""
            print_line(console, f"{elapsed:.0f} s: {_stage(state)}{best}")

    return line


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
        name = f"{row.name} (chosen)" if row.chosen and not wide else row.name
        cells: list[str | Text] = [Text(name), f"{row.speedup:.2f}", str(row.passes)]
        if wide:
            left = "chosen" if row.chosen else ""
            if row.left is not None:
                left = f"{row.left.stage}: {row.left.reason}"
            cells[1:1] = [f"{row.speed:.1f}"]
            cells[3:3] = [spread(row)]
            cells.append(left)
        style = "bold" if row.chosen else "dim" if row.left is not None else ""
        table.add_row(*cells, style=style)
    return table
