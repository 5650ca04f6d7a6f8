"""Progress of a batch: a bar on a terminal, and one line at the end."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn

from specli.batch.totals import Failure, Totals
from specli.figures import UNKNOWN, counted, duration, number, percent
from specli.ui.bars import bar_column, has_bars, print_line, text_column

WIDE = 72
"""Columns from which every figure has its name."""


class BatchView:
    """Shows a batch on a terminal; elsewhere only its failures, one line each.

    A context manager. `bar` False disables the bar on a terminal too.
    """

    def __init__(self, console: Console, totals: Totals, *, bar: bool = True) -> None:
        self._console = console
        self._wide = console.width >= WIDE
        self._progress: Progress | None = None
        if bar and has_bars(console):
            columns: list[ProgressColumn] = [bar_column(1)] if self._wide else []
            columns.append(text_column("{task.description}"))
            self._progress = Progress(*columns, console=console, expand=self._wide)
            self._task = self._progress.add_task("", total=None)
            self.changed(totals)

    def changed(self, totals: Totals) -> None:
        if self._progress is not None:
            self._progress.update(
                self._task,
                completed=totals.seen,
                total=totals.expected,
                description=status(totals, wide=self._wide),
            )

    def failed(self, failure: Failure) -> None:
        print_line(self._console, f"{failure.location}: {failure.reason}")

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def status(totals: Totals, *, wide: bool) -> str:
    """The figures next to the bar, without their names on narrow terminals."""
    of = UNKNOWN if totals.expected is None else str(totals.expected)
    parts = [f"{totals.seen}/{of}"]
    if totals.failed:
        parts.append(f"{totals.failed} failed")
    parts.append(f"{number(totals.predicted_per_second, 1)} tok/s")
    left = duration(totals.seconds_left)
    parts.append(f"{left} left" if wide else left)
    rate = totals.stats.acceptance_rate
    if rate is not None:
        parts.append(f"{percent(rate)} accepted" if wide else percent(rate))
    return "  ".join(parts)


def summary(totals: Totals) -> str:
    """One line for the end of a batch."""
    parts = [f"{totals.answered} answered"]
    if totals.earlier:
        parts.append(f"{totals.earlier} earlier")
    if totals.failed:
        parts.append(f"{totals.failed} failed")
    stats = totals.stats
    if stats.predicted_n:
        speed = f"{duration(totals.seconds)} at {number(totals.predicted_per_second, 1)} tok/s"
        parts.append(f"{counted(stats.predicted_n, 'token')} in {speed}")
    if totals.engines:
        nodes = counted(len({node for node, _address, _pid in totals.engines}), "node")
        parts.append(f"by {counted(len(totals.engines), 'engine')} on {nodes}")
    if stats.drafted:
        rate = percent(stats.acceptance_rate, 1)
        parts.append(f"accepted {stats.accepted} of {stats.drafted} drafted ({rate})")
    return ", ".join(parts)
