"""Rates are what a clock says of real work; none of these tests asserts a speed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.doctor import measure
from specli.doctor.measure import LARGEST, matrix_rate, read_rate, read_size


def clock(*durations: float) -> Callable[[], float]:
    """A clock for repeats that take these times: one look before, one after each."""
    # First when the end is set; then for each repeat: whether to go on, begin, end.
    now = 0.0
    looks = [now]
    for duration in durations:
        looks += [now, now + duration, now + duration]
        now += duration
    # The first repeat is made without a look at the clock.
    left = iter(looks)
    return lambda: next(left)


def test_the_fastest_repeat_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 1.0)
    rate, repeats = read_rate(8 << 20, 2, clock(0.5, 0.25, 0.5))
    assert repeats == 3
    assert rate == (8 << 20) / 0.25


def test_one_repeat_is_made_however_slow_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 1.0)
    rate, repeats = read_rate(4096, 1, clock(60.0))
    assert (rate, repeats) == (4096 / 60, 1)


def test_a_product_counts_a_multiplication_and_an_addition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "SECONDS", 1.0)
    assert matrix_rate(clock(2.0)) == 2 * 1024 * 1024 * 256 / 2


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_share_all_that_is_read(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS", 0.0)
    read: list[int] = []
    monkeypatch.setattr(measure, "_read", lambda part: read.append(part.nbytes))
    read_rate(1 << 20, threads)
    assert len(read) == threads
    assert sum(read) == 1 << 20


@given(cache=st.none() | st.integers(0, 1 << 40), free=st.integers(1 << 20, 1 << 44))
def test_what_is_read_leaves_room_and_outgrows_the_cache_where_it_can(
    cache: int | None, free: int
) -> None:
    size = read_size(cache, free)
    assert size % 4096 == 0
    assert 1 << 20 <= size <= max(LARGEST, 1 << 20)
    assert size <= max(free // 8, 1 << 20)
    if cache is not None and free // 8 > LARGEST > 2 * cache:
        assert size >= 2 * cache - 4096
