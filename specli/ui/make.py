"""Progress and results of `pair make`: a bar, the best so far, a table of trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskProgressColumn
from rich.table import Table
from rich.text import Text

from specli.drafts.evaluator import Trial
from specli.drafts.make import PAYS, OnProgress
from specli.figures import percent, short_bytes
from specli.ui.bars import bar_column, has_bars, print_line, text_column
from specli.ui.terminal import Terminal

WIDE = 60
"""Columns from which the best so far fits next to the bar."""


@contextmanager
def make_progress(*, quiet: bool = False, console: Console | None = None) -> Iterator[OnProgress]:
    """Show the progress of a search: a bar on a terminal, else a line for each new best."""
    console = console or Terminal(stderr=True)
    if quiet:
        yield lambda _task, _spent, _best: None
    elif not has_bars(console):
        yield _lines(console)
    else:
        columns: list[ProgressColumn] = [text_column("{task.description}", 3), bar_column(2)]
        columns.append(TaskProgressColumn())
        if console.width >= WIDE:
            columns.append(text_column("{task.fields[best]}", 3))
        with Progress(*columns, console=console, expand=True, transient=True) as bars:
            task = bars.add_task("", total=1.0, best="")

            def update(description: str, spent: float, best: Trial | None) -> None:
                so_far = f"best {speed(best.speedup)} {best.type}" if best else ""
                bars.update(task, description=description, completed=min(spent, 1.0), best=so_far)

            yield update


def _lines(console: Console) -> OnProgress:
    shown: Trial | None = None

    def line(task: str, _spent: float, best: Trial | None) -> None:
        nonlocal shown
        if best is None:
            if shown is None:
                print_line(console, task)
        elif best is not shown:
            shown = best
            print_line(console, f"best so far: {best.type}, expected {speed(best.speedup)}")

    return line


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
