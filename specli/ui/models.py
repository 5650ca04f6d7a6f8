"""Models as tables: those that are here, and one by the facts in its header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from specli.figures import short_bytes
from specli.hub.local import LocalModel


def models_table(models: Sequence[LocalModel]) -> Table:
    """A row for each model: what to type for it, its size, and who keeps it."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("model", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("kept by", no_wrap=True)
    for model in models:
        table.add_row(Text(model.name), short_bytes(model.size), model.origin)
    return table


def facts_table(rows: Mapping[str, str]) -> Table:
    """A row for each fact."""
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table
