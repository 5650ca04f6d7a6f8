"""A short run through every way in; `make fuzz` goes on for longer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.hostile.__main__ import ENTRIES, EndlessError, attempt
from tests.hostile.entry import Entry

SEEDS = [
    pytest.param(entry, number, id=f"{entry.name}-{number}")
    for entry in ENTRIES.values()
    for number in range(len(entry.seeds))
]


@pytest.mark.parametrize(("entry", "number"), SEEDS)
def test_what_was_found_once_stays_mended(entry: Entry, number: int, tmp_path: Path) -> None:
    assert attempt(entry, entry.seeds[number], tmp_path)


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_made_inputs_end_in_an_answer_or_in_a_sentence(entry: Entry, tmp_path: Path) -> None:
    results = {
        attempt(entry, entry.make(random.Random(seed)), tmp_path) for seed in range(entry.in_ci)
    }
    assert len(results) > 1, "inputs that all meet the same fate test little"


def test_a_case_that_computes_for_ever_is_a_finding(tmp_path: Path) -> None:
    def endless(_given: object, _folder: Path) -> str:
        while True:
            pass

    with pytest.raises(EndlessError, match="of computing"):
        attempt(Entry("endless", lambda _rng: None, endless, seconds=1), None, tmp_path)
    assert list(tmp_path.iterdir()) == []
