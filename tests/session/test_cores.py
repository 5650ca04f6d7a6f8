"""Threads follow the cores that other programs leave free."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from specli.session import Session, Setup, cores
from specli.session.cores import ProcessorTimes, Room, fitting, processor_times
from specli.session.loading import allowed_cores
from tests.session.test_session import generated


@pytest.mark.parametrize(
    ("threads", "most", "free", "expected"),
    [
        (2, 2, 2.0, 2),
        (2, 2, 1.7, 2),  # something now and then
        (2, 2, 1.0, 1),  # one busy process
        (2, 2, 1.4, 1),  # one busy process that shares its core with a thread
        (1, 2, 0.7, 1),  # two busy processes: one thread is the least
        (1, 2, 1.5, 1),
        (1, 2, 1.9, 2),  # free again
        (8, 8, 16.0, 8),  # two threads a core: another program does not disturb
        (8, 8, 6.9, 7),
        (7, 8, 7.9, 8),
        (1, 8, 7.9, 8),
        (8, 8, 0.0, 1),
    ],
)
def test_threads_for_the_cores_that_are_free(
    threads: int, most: int, free: float, expected: int
) -> None:
    assert fitting(threads, most, free) == expected


@pytest.mark.parametrize("most", range(1, 9))
def test_a_number_of_threads_that_fits_is_kept(most: int) -> None:
    for tenths in range(10 * most + 1):
        first = fitting(most, most, tenths / 10)
        assert fitting(first, most, tenths / 10) == first


@dataclass
class Others:
    """Other programs that use so many cores in each window of a second, on a machine with two."""

    windows: Sequence[float]
    now: float = 0.0
    times: ProcessorTimes = field(default_factory=lambda: ProcessorTimes(0.0, 0.0, 0.0))

    def read(self) -> ProcessorTimes:
        before, self.now = self.times, self.now + 1
        taken = self.windows[min(int(self.now) - 1, len(self.windows) - 1)]
        self.times = ProcessorTimes(self.now, before.all + taken + 1.5, before.own + 1.5)
        return before


def room(windows: Sequence[float], notes: list[str], monkeypatch: pytest.MonkeyPatch) -> Room:
    others = Others(windows)
    monkeypatch.setattr(cores, "perf_counter", lambda: others.now)
    return Room(notes.append, most=2, cores=2, read=others.read)


def test_threads_follow_and_the_user_is_told_once_each_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    watched = room([0.0, 1.0, 1.0, 0.0, 1.0, 0.0], notes, monkeypatch)
    threads = []
    for _window in range(6):
        watched.watch()
        threads.append(watched.threads)
    assert threads == [2, 1, 1, 2, 1, 2]
    assert notes == [
        "other programs use 1.0 of 2 cores: computing with 1 thread instead of 2",
        "cores are free again: computing with 2 threads",
    ]


def test_a_window_is_calm_where_threads_neither_change_nor_lack_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = room([0.0, 1.0, 1.0, 1.5, 0.0, 0.0], [], monkeypatch)
    assert [watched.watch() for _window in range(6)] == [True, False, True, False, False, True]


def test_what_others_did_while_nothing_was_generated_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = room([2.0, 2.0, 0.0], [], monkeypatch)
    assert not watched.watch(decoding=0.0)
    assert not watched.watch(decoding=0.1)
    assert watched.watch(decoding=1.0)
    assert watched.threads == 2


def test_where_speeds_are_compared_threads_stay_and_the_user_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    watched = room([0.0, 1.0, 1.0], notes, monkeypatch)
    watched.steady = True
    assert [watched.watch() for _window in range(3)] == [True, False, False]
    assert watched.threads == 2
    assert notes == ["other programs use 1.0 of 2 cores: speeds measured now are unreliable"]


def test_where_the_system_does_not_tell_nothing_changes() -> None:
    watched = Room(print, most=2, cores=2, read=lambda: None)
    assert not watched.watch()
    assert watched.threads == 2


def test_work_of_this_process_is_its_own() -> None:
    before = processor_times(allowed_cores())
    assert before is not None
    while (now := processor_times(allowed_cores())) is not None and now.own < before.own + 0.1:
        sum(range(10_000))
    assert now is not None
    assert now.all - before.all > 0.05


def test_a_session_goes_on_with_fewer_threads_and_writes_the_same_text(
    adaptive: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    # On the clock of these windows llama.cpp takes all the time there is.
    count = itertools.count(1)
    monkeypatch.setattr("specli.session.session.decoding_seconds", lambda _contexts: next(count))
    with Session(adaptive, records) as session:
        session._room = room([0.0], [], monkeypatch)
        expected = generated(session.engine())
        session._room = room([1.0], notes, monkeypatch)
        assert generated(session.engine()) == expected
        assert session.draft is not None
        assert (session.target.threads, session.draft.threads) == (1, 1)
        assert session.policy.cost.threads == (1, 1)  # type: ignore[attr-defined]
        session._room = room([0.0], [], monkeypatch)
        assert generated(session.engine()) == expected
        assert session.target.threads == 2
    assert len(notes) == 1


def test_threads_that_were_asked_for_stay(
    adaptive: Setup, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(adaptive.with_threads(2, 2), records) as session:
        session._room = room([1.0], [], monkeypatch)
        generated(session.engine())
        assert session.target.threads == 2
