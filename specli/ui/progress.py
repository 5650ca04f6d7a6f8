"""Progress of downloads and other long steps before the first token, on stderr."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import DownloadColumn, ProgressColumn, Task, TaskID
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from specli.hub.progress import Action, Progress, ProgressSink, ignore
from specli.ui.bars import bar_column, has_bars, print_line, text_column
from specli.ui.terminal import Terminal

WIDE = 72
"""Columns from which the speed fits next to the bar."""

WORDS: dict[Action, str] = {
    "fetch": "downloading",
    "verify": "verifying",
    "make": "making",
    "check": "checking",
    "load": "loading",
    "map": "pairing tokens of",
    "measure": "measuring",
    "start": "starting",
}
LASTING = ("fetch", "verify", "make")
"""Steps that leave a file: their bars stay. Those of the others vanish when they are over."""

SLOW_SECONDS = 2.0
"""Time after which a step that leaves nothing gets a line where no bar is possible."""


@contextmanager
def reporting(
    *, quiet: bool = False, console: Console | None = None, slow_seconds: float = SLOW_SECONDS
) -> Iterator[ProgressSink]:
    """A sink that shows the progress it receives: bars on a terminal, else a line per step.

    Nothing appears before the first report. `console` defaults to stderr.
    """
    if quiet:
        yield ignore
        return
    console = console or Terminal(stderr=True)
    view = _Bars(console) if has_bars(console) else _Lines(console, slow_seconds)
    try:
        yield view
    finally:
        view.stop()


class _Lines:
    """A line of plain text when a step begins that leaves a file, or when another one is slow."""

    def __init__(self, console: Console, slow_seconds: float) -> None:
        self._console = console
        self._slow_seconds = slow_seconds
        self._begun: set[str] = set()
        self._timer: threading.Timer | None = None

    def __call__(self, progress: Progress) -> None:
        line = f"{WORDS[progress.action]} {progress.name}"
        if line in self._begun:
            return
        self._begun.add(line)
        self.stop()
        if progress.action in LASTING:
            print_line(self._console, line)
        else:
            self._timer = threading.Timer(
                self._slow_seconds, print_line, (self._console, f"{line} …")
            )
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Bars:
    """A bar per file, one for all downloads where there are several, one for the step that runs."""

    def __init__(self, console: Console) -> None:
        wide = console.width >= WIDE
        columns: list[ProgressColumn] = [text_column("{task.description}", 3), bar_column(2)]
        columns.append(_Amount(wide=wide))
        if wide:
            columns.append(_Speed(table_column=Column(no_wrap=True)))
        self._bars = Bars(*columns, console=console, expand=True)
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._fetches: dict[str, Progress] = {}
        self._total: TaskID | None = None
        self._passing: tuple[str, str] | None = None
        self._started = False
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        key = (progress.action, progress.name)
        with self._lock:
            if not self._started:
                self._started = True
                self._bars.start()
            if key != self._passing:
                self._end_passing()
            if key not in self._tasks:
                # The file name is most informative if space is short.
                label = f"{WORDS[progress.action]} {progress.name.rpartition('/')[2]}"
                self._tasks[key] = self._bars.add_task(
                    label, total=progress.total, completed=progress.done, action=progress.action
                )
                if progress.action not in LASTING:
                    self._passing = key
            else:
                self._bars.update(self._tasks[key], completed=progress.done, total=progress.total)
            if progress.action == "fetch":
                self._show_total(progress)

    def _end_passing(self) -> None:
        if self._passing is not None:
            self._bars.remove_task(self._tasks.pop(self._passing))
            self._passing = None

    def _show_total(self, progress: Progress) -> None:
        is_new = progress.name not in self._fetches
        self._fetches[progress.name] = progress
        if len(self._fetches) == 1:
            return
        if is_new and self._total is not None:
            # The total comes below its parts.
            self._bars.remove_task(self._total)
        if is_new or self._total is None:
            self._total = self._bars.add_task("total", total=None, action="fetch")
        fetches = self._fetches.values()
        totals = [item.total for item in fetches if item.total is not None]
        total = sum(totals) if len(totals) == len(fetches) else None
        self._bars.update(self._total, completed=sum(item.done for item in fetches), total=total)

    def stop(self) -> None:
        with self._lock:
            self._end_passing()
            # What has left nothing behind leaves no empty line either.
            self._bars.live.transient = not self._tasks
            self._bars.stop()


class _Amount(ProgressColumn):
    """How far a step is, in its own unit."""

    def __init__(self, *, wide: bool) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self._wide = wide

    def render(self, task: Task) -> Text:
        done, total = int(task.completed), task.total
        match task.fields["action"]:
            case "check" | "map" | "start":
                return Text("")
            case "load":
                return Text(f"{task.percentage:.0f}%" if total else "")
            case "measure":
                skip = ", Ctrl-C skips" if self._wide else ""
                return Text(f"{done}/{int(total or 0)}{skip}")
        if total is None:
            return Text(decimal(done), "progress.download")
        return DownloadColumn().render(task)


class _Speed(ProgressColumn):
    """Bytes per second of a step that leaves a file, while it runs and where it is known."""

    def render(self, task: Task) -> Text:
        if task.speed is None or task.finished or task.fields["action"] not in LASTING:
            return Text("")
        return Text(f"{decimal(int(task.speed))}/s", "progress.data.speed")
