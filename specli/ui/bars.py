"""What the progress views share: where a bar is possible, lines elsewhere, columns that shrink."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.table import Column


def has_bars(console: Console) -> bool:
    """Whether the console can redraw a line."""
    return console.is_terminal and not console.is_dumb_terminal


def print_line(console: Console, line: str) -> None:
    """Plain text, wrapped by the terminal only."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def text_column(field: str, ratio: int | None = None) -> TextColumn:
    """Text without markup on one line, cut where `ratio` leaves no room."""
    column = Column(ratio=ratio, no_wrap=True, overflow="ellipsis")
    return TextColumn(field, markup=False, table_column=column)


def bar_column(ratio: int, least: int | None = None) -> BarColumn:
    return BarColumn(bar_width=None, table_column=Column(ratio=ratio, min_width=least))
