"""Progress of downloads and other long steps before the first token, on stderr."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import DownloadColumn, ProgressColumn, TaskID, TransferSpeedColumn
from rich.progress import Progress as Bars

from specli.hub.progress import Action, Progress, ProgressSink, ignore
from specli.ui.bars import bar_column, has_bars, print_line, text_column

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
    if not has_bars(console):
        yield _lines(console)
        return
    bars = _Bars(console)
    try:
        yield bars
    finally:
        bars.stop()


def _lines(console: Console) -> ProgressSink:
    """A line of plain text when a step begins."""
    printed: set[str] = set()

    def line(progress: Progress) -> None:
        text = f"{WORDS[progress.action]} {progress.name}"
        if text not in printed:
            printed.add(text)
            print_line(console, text)

    return line


class _Bars:
    """A bar per file, and one for all downloads if there are several."""

    def __init__(self, console: Console) -> None:
        columns: list[ProgressColumn] = [text_column("{task.description}", 3), bar_column(2)]
        columns.append(DownloadColumn())
        if console.width >= WIDE:
            columns.append(TransferSpeedColumn())
        self._bars = Bars(*columns, console=console, expand=True)
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
        fetches = self._fetches.values()
        totals = [item.total for item in fetches if item.total is not None]
        total = sum(totals) if len(totals) == len(fetches) else None
        self._bars.update(self._total, completed=sum(item.done for item in fetches), total=total)

    def stop(self) -> None:
        self._bars.stop()
