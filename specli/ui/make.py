"""Progress and results of `pair make`: a bar, the best so far, a table of trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column, Table
from rich.text import Text

from specli.drafts.evaluator import Trial
from specli.drafts.make import PAYS, OnProgress
from specli.pairs.quantities import short_bytes
from specli.ui.figures import percent

WIDE = 60
"""Columns from which the best so far fits next to the bar."""


@contextmanager
def make_progress(*, quiet: bool = False, console: Console | None = None) -> Iterator[OnProgress]:
    """Show the progress of a search: a bar on a terminal, else a line for each new best."""
    console = console or Console(stderr=True)
    if quiet:
        yield lambda _task, _spent, _best: None
    elif not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console)
    else:
        bars = Progress(*_columns(console.width), console=console, expand=True, transient=True)
        with bars:
            task = bars.add_task("", total=1.0, best="")

            def update(description: str, spent: float, best: Trial | None) -> None:
                so_far = f"best {speed(best.speedup)} {best.type}" if best else ""
                bars.update(task, description=description, completed=min(spent, 1.0), best=so_far)

            yield update


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._best: Trial | None = None
        self._begun = False

    def __call__(self, task: str, _spent: float, best: Trial | None) -> None:
        if best is not self._best and best is not None:
            self._best = best
            self._print(f"best so far: {best.type}, expected {speed(best.speedup)}")
        elif not self._begun and best is None:
            self._print(task)
        self._begun = best is not None

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _columns(width: int) -> list[TextColumn | BarColumn | TaskProgressColumn]:
    def text(field: str, ratio: int) -> TextColumn:
        column = Column(ratio=ratio, no_wrap=True, overflow="ellipsis")
        return TextColumn(field, markup=False, table_column=column)

    bar = BarColumn(bar_width=None, table_column=Column(ratio=2))
    columns: list[TextColumn | BarColumn | TaskProgressColumn] = [text("{task.description}", 3)]
    columns += [bar, TaskProgressColumn()]
    return [*columns, text("{task.fields[best]}", 3)] if width >= WIDE else columns


def speed(speedup: float) -> str:
    return f"{speedup:.2f}×"


def trials_table(trials: Sequence[Trial]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("type", no_wrap=True)
    for name in ("size", "ms/token", "agrees", "speed-up"):
        table.add_column(name, justify="right", no_wrap=True)
    for index, trial in enumerate(trials):
        pays = trial.speedup >= PAYS
        table.add_row(
            trial.type,
            short_bytes(trial.size),
            f"{trial.draft_ms:.1f}",
            percent(trial.expected.agreement),
            Text(speed(trial.speedup), style="green" if pays else "yellow"),
            style="bold" if index == 0 else "",
        )
    return table
