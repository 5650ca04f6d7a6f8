"""The worked example of docs/numbers.md is what its formula gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "numbers.md").read_text(encoding="utf-8")
DRAFT_MS = 5


def rows(first: str) -> list[list[str]]:
    """Cells of the table whose head begins with `first`, its head included."""
    start = PAGE.index(f"| {first} |")
    lines = PAGE[start:].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


def target_ms() -> dict[int, float]:
    sizes, _rule, times = rows("k")
    return {int(size): float(ms) for size, ms in zip(sizes[1:], times[1:], strict=True)}


def yielded(drafted: int, probability: float) -> float:
    return sum(probability**power for power in range(drafted + 1))


def test_the_table_of_speed_ups_follows_from_the_measured_times() -> None:
    head, _rule, *table = rows("n")
    times = target_ms()
    probabilities = [float(name.split("=")[-1]) for name in head[3:-1]]
    assert len(table) == 4
    for drafted_text, took, needed, *speedups in table:
        drafted = int(drafted_text)
        round_ms = times[drafted + 1] + drafted * DRAFT_MS
        assert took == f"{round_ms:.0f} ms"
        assert needed == f"{round_ms / times[1]:.2f}"
        for probability, told in zip([*probabilities, 1.0], speedups, strict=True):
            assert told == f"{yielded(drafted, probability) * times[1] / round_ms:.2f}"


@pytest.mark.parametrize(("drafted", "told"), [(3, 65), (7, 45)])
def test_acceptance_rates_fall_with_length_as_told(drafted: int, told: int) -> None:
    rate = (yielded(drafted, 0.8) - 1) / drafted
    assert f"{100 * rate:.0f}" == str(told)
    assert re.search(rf"\b{told} %", PAGE)


def test_the_ceilings_are_those_of_the_last_row() -> None:
    times = target_ms()
    assert f"{16 * times[1] / times[16]:.1f}" == "5.9"
    assert "16 · 20 / 54 = 5.9" in PAGE
    assert "n = 15 gives 2.48" in PAGE
