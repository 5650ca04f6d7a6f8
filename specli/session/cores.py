"""How many threads the machine has room for beside other programs.

Threads of llama.cpp wait for each other some hundred times a token. Two of them that have to share
one core make each other wait for whole time slices of the scheduler, so one thread more than there
are free cores can make a token take forty times as long.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import psutil

from specli.figures import counted
from specli.session.loading import allowed_cores, physical_cores

WINDOW = 0.5
"""Seconds that a figure covers at least; what other programs do in shorter bursts passes."""

FIRST_WINDOW = 0.1
"""The same for the first figure, which costs are measured by; processor time is counted in
hundredths of a second."""

TAKEN = 0.4
"""Cores that others may use of those of the threads: a busy program that shares a core with one of
them uses half of it, and what stirs now and then on an idle system less than a tenth."""

FREE = 0.8
"""Free cores that one more thread wants: with `TAKEN` for a margin, threads do not come and go."""


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Seconds: of the clock, and of work on the allowed cores by all programs and by this one."""

    at: float
    all: float
    own: float


def processor_times(cores: list[int]) -> ProcessorTimes | None:
    """The times so far; None where the system does not tell."""
    try:
        times = psutil.cpu_times(percpu=True)
        nice = [getattr(one, "nice", 0.0) for one in times]
        busy = sum(times[core].user + nice[core] + times[core].system for core in cores)
    except (OSError, IndexError, NotImplementedError):
        return None
    own = os.times()
    # Children count as others until they have ended, and then as what they were: our own.
    return ProcessorTimes(
        perf_counter(), busy, own.user + own.system + own.children_user + own.children_system
    )


@dataclass(slots=True)
class Room:
    """The threads that there is room for: one per physical core, and fewer while other programs
    use cores. `notice` takes a sentence when that changes for the first time."""

    notice: Callable[[str], None]
    most: int = field(default_factory=physical_cores)
    cores: int = field(default_factory=lambda: len(allowed_cores()))
    read: Callable[[], ProcessorTimes | None] = lambda: processor_times(allowed_cores())
    steady: bool = False
    """Keep `threads` as they are, and only say that other programs use their cores."""
    threads: int = field(init=False)
    crowded: bool = field(default=False, init=False)
    """Whether other programs used cores of these threads when that was looked at last."""
    _before: ProcessorTimes | None = field(init=False)
    _decoding: float = field(default=0.0, init=False)
    _told: set[bool] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.threads = self.most
        self._before = self.read()

    def watch(self, decoding: float | None = None, window: float = WINDOW) -> bool:
        """Look at what other programs have used since the last look, if that is long enough ago.

        `decoding` is how many seconds this process has computed so far: a window in which it mostly
        waited says nothing of now. None where that does not matter. `threads` follows. True where
        nothing disturbed them for one more window.
        """
        before = self._before
        if before is None or perf_counter() - before.at < window:
            return False
        now = self._before = self.read()
        if now is None:
            return False
        seconds = now.at - before.at
        if decoding is not None:
            worked, self._decoding = decoding - self._decoding, decoding
            if worked < seconds / 2:
                return False
        others = (now.all - before.all) - (now.own - before.own)
        taken = max(others, 0.0) / seconds
        threads = fitting(self.threads, self.most, self.cores - taken)
        self.crowded = self.cores - taken < self.threads - TAKEN
        if threads != self.threads:
            self._tell(threads, taken)
            if not self.steady:
                self.threads = threads
                return False
        return not self.crowded

    def _tell(self, threads: int, taken: float) -> None:
        fewer = threads < self.threads
        if fewer in self._told or (self.steady and not fewer):
            return
        self._told.add(fewer)
        now = f"computing with {counted(threads, 'thread')}"
        use = f"other programs use {taken:.1f} of {self.cores} cores"
        if self.steady:
            self.notice(f"{use}: speeds measured now are unreliable")
        elif fewer:
            self.notice(f"{use}: {now} instead of {self.threads}")
        else:
            self.notice(f"cores are free again: {now}")


def fitting(threads: int, most: int, free: float) -> int:
    """How many threads to go on with after `threads`, of at most `most`, on `free` cores."""
    if free < threads - TAKEN:
        return max(1, int(free + TAKEN))
    if free >= threads + FREE:
        return min(most, int(free + 1 - FREE))
    return threads
