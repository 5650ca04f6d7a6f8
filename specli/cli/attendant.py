"""`specli batch` on a terminal: its view, and the signals that stop it."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from specli.batch.run import Watcher
from specli.batch.totals import Failure, Totals
from specli.cli.output import Sink, console, freeze_loaded
from specli.errors import BatchFailedError
from specli.figures import counted
from specli.ui.batch import BatchView, summary


class TerminalAttendant:
    """Shows a batch on stderr and stops it with the first SIGINT or SIGTERM."""

    def __init__(self, sink: Sink, *, shows_slots: bool = False) -> None:
        self._sink = sink
        self._shows_slots = shows_slots and sys.stderr.isatty()
        self.signal: int | None = None

    def stopped(self) -> bool:
        return self.signal is not None

    @property
    def stopped_by(self) -> str | None:
        return None if self.signal is None else signal.Signals(self.signal).name

    def failed(self, failure: Failure) -> None:
        BatchView(console(stderr=True), Totals(), bar=False).failed(failure)

    @contextmanager
    def answering(self, totals: Totals, slots: int) -> Iterator[Watcher]:
        """The view while answers are generated, and the figures after it."""
        freeze_loaded()
        if self._shows_slots:
            self._sink.note(
                f"{counted(slots, 'prompt')} at once, by memory and measured costs (--parallel)"
            )
        view = BatchView(console(stderr=True), totals, bar=not self._sink.quiet)
        try:
            with view, self._catching():
                yield view
        except BatchFailedError:
            self._sink.remark(summary(totals))
            raise
        self._sink.remark(summary(totals))

    @contextmanager
    def _catching(self) -> Iterator[None]:
        """Note the first signal to stop; Ctrl-C again stops at once."""

        def caught(number: int, _frame: object) -> None:
            if self.signal is not None:
                raise KeyboardInterrupt
            self.signal = number

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in before.items():
            # A shell's background job hands down that Ctrl-C is ignored.
            if handler is not signal.SIG_IGN:
                signal.signal(number, caught)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def how_to_resume(self, *, to_stdout: bool) -> str:
        """What to type after a stop."""
        if to_stdout:
            return f"stopped by {self.stopped_by}; with -o FILE the same command would resume here"
        words = [word for word in sys.argv[1:] if word != "--restart"]
        return f"stopped by {self.stopped_by}; to resume: {shlex.join(['specli', *words])}"
