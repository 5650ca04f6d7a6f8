"""The search for a draft as people see it: a bar, the best so far, a table of trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column, Table
from rich.text import Text

from specli.making.blocks import block_ranges
from specli.making.make import PAYS, Found
from specli.making.search import Trial
from specli.making.workshop import Tell
from specli.pairs.quantities import short_bytes
from specli.ui.figures import percent

SHOWN = 12
"""Trials in the table; a search makes some dozens."""

WIDE = 60
"""Columns from which the best so far fits beside the bar."""


@contextmanager
def searching(*, quiet: bool = False, console: Console | None = None) -> Iterator[Tell]:
    """Shows how far a search has come: a bar on a terminal, else a line for each new best."""
    console = console or Console(stderr=True)
    if quiet:
        yield lambda _doing, _spent, _best: None
    elif not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console)
    else:
        bars = Progress(*_columns(console.width), console=console, expand=True, transient=True)
        with bars:
            task = bars.add_task("", total=1.0, best="")

            def tell(doing: str, spent: float, best: Trial | None) -> None:
                so_far = f"best {speed(best.speedup)} {best.variant}" if best else ""
                bars.update(task, description=doing, completed=min(spent, 1.0), best=so_far)

            yield tell


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._best: Trial | None = None
        self._begun = False

    def __call__(self, doing: str, _spent: float, best: Trial | None) -> None:
        if best is not self._best and best is not None:
            self._best = best
            self._print(f"best so far: {best.variant}, {speed(best.speedup)} expected")
        elif not self._begun and best is None:
            self._print(doing)
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


def trials_table(found: Found) -> Table:
    """The best of what was tried."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("type", no_wrap=True)
    table.add_column("blocks left out", overflow="fold")
    for name in ("size", "ms/token", "agrees", "speed-up"):
        table.add_column(name, justify="right", no_wrap=True)
    for place, trial in enumerate(found.trials[:SHOWN]):
        pays = trial.speedup >= PAYS
        table.add_row(
            trial.variant.type,
            block_ranges(trial.variant.dropped) or "none",
            short_bytes(trial.size),
            f"{trial.draft_ms:.1f}",
            percent(trial.expected.agreement),
            Text(speed(trial.speedup), style="green" if pays else "yellow"),
            style="bold" if place == 0 else "",
        )
    return table
