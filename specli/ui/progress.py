"""Progress of downloads and other long steps before the first token, on stderr."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column

from specli.hub.progress import Action, Progress, ProgressSink, ignore

WIDE = 72
"""Columns from which the speed fits next to the bar."""

WORDS: dict[Action, str] = {"fetch": "downloading", "verify": "verifying", "make": "making"}


@contextmanager
def reporting(*, quiet: bool = False, console: Console | None = None) -> Iterator[ProgressSink]:
    """A sink that shows the progress it receives: bars on a terminal, else a line per file.

    Nothing appears before the first report. `console` defaults to stderr.
    """
    if quiet:
        yield ignore
        return
    console = console or Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console)
        return
    bars = _Bars(console)
    try:
        yield bars
    finally:
        bars.stop()


class _Lines:
    """One line of plain text when a step begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: set[tuple[str, str]] = set()

    def __call__(self, progress: Progress) -> None:
        key = (progress.action, progress.name)
        if key not in self._printed:
            self._printed.add(key)
            line = f"{WORDS[progress.action]} {progress.name}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Bars:
    """A bar per file, and one for all downloads if there are several."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(*_columns(console.width), console=console, expand=True)
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._fetches: dict[str, Progress] = {}
        self._total: TaskID | None = None
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        key = (progress.action, progress.name)
        with self._lock:
            if not self._tasks:
                self._bars.start()
            if key not in self._tasks:
                # The file name is most informative if space is short.
                label = f"{WORDS[progress.action]} {progress.name.rpartition('/')[2]}"
                self._tasks[key] = self._bars.add_task(label, total=None)
            self._bars.update(self._tasks[key], completed=progress.done, total=progress.total)
            if progress.action == "fetch":
                self._show_total(progress)

    def _show_total(self, progress: Progress) -> None:
        is_new = progress.name not in self._fetches
        self._fetches[progress.name] = progress
        if len(self._fetches) == 1:
            return
        if is_new and self._total is not None:
            # The total comes below its parts.
            self._bars.remove_task(self._total)
        if is_new or self._total is None:
            self._total = self._bars.add_task("total", total=None)
        known = [item.total for item in self._fetches.values() if item.total is not None]
        self._bars.update(
            self._total,
            completed=sum(item.done for item in self._fetches.values()),
            total=sum(known) if len(known) == len(self._fetches) else None,
        )

    def stop(self) -> None:
        self._bars.stop()


def _columns(width: int) -> list[ProgressColumn]:
    name = Column(ratio=3, no_wrap=True, overflow="ellipsis")
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=None, table_column=Column(ratio=2)),
        DownloadColumn(),
    ]
    return [*columns, TransferSpeedColumn()] if width >= WIDE else columns
