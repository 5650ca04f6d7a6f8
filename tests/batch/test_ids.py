"""The table of ids behaves as a dictionary, and stays small."""

from __future__ import annotations

import tracemalloc

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


def test_many_ids_survive_growing_in_a_few_megabytes() -> None:
    count = 20_000
    tracemalloc.start()
    ids = Ids()
    for number in range(count):
        ids.put(str(number), number)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(ids.get(str(number)) == number for number in range(count))
    assert ids.get(str(count)) is None
    assert peak < 100 * count
