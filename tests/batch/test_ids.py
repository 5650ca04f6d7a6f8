"""The table of ids behaves as a dictionary, and stays small."""

from __future__ import annotations

import psutil
from hypothesis import given
from hypothesis import strategies as st

from specli.batch.ids import Ids

NUMBERS = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(st.text(max_size=3), NUMBERS), max_size=60))
def test_any_puts_are_found_again(puts: list[tuple[str, int]]) -> None:
    ids, expected = Ids(), dict(puts)
    for key, value in puts:
        ids.put(key, value)
    assert {key: ids.get(key) for key in expected} == expected
    assert len(ids) == len(expected)
    assert ids.get("not put at all") is None


def test_a_hundred_thousand_ids_take_less_than_ten_megabytes() -> None:
    count = 100_000
    before = psutil.Process().memory_info().rss
    ids = Ids()
    for number in range(count):
        ids.put(str(number), number)
    grown = psutil.Process().memory_info().rss - before
    assert all(ids.get(str(number)) == number for number in range(0, count, 7))
    assert ids.get(str(count)) is None
    assert grown < 100 * count
