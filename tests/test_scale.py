"""The tables of docs/scale.md follow from the times and rates that were measured."""

from __future__ import annotations

from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")


def rows(head: str) -> list[list[str]]:
    """Cells of the table whose head is this, without the head."""
    start = PAGE.index(head)
    lines = PAGE[start:].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


def times() -> dict[int, tuple[float, dict[int, float]]]:
    """By width: one step of the draft, and the target's time by drafted tokens."""
    drafted = (0, 1, 2, 3, 4, 7)
    found = {}
    for width, step, *cells in rows("| n | D(n) | k = 0 |"):
        known = {k: float(ms) for k, ms in zip(drafted, cells, strict=True) if ms}
        found[int(width)] = float(step), known
    return found


def speedup(width: int, k: int, p: float) -> float:
    step, target = times()[width]
    return sum(p**power for power in range(k + 1)) * target[0] / (target[k] + k * step)


def test_speed_ups_are_those_of_the_best_length() -> None:
    table = rows("| n | p = 0.6 |")
    assert len(table) > 5
    for width_text, *cells in table:
        width = int(width_text)
        _step, target = times()[width]
        for p, cell in zip((0.6, 0.7, 0.8, 0.9), cells, strict=False):
            best, k = max((speedup(width, k, p), k) for k in target if k)
            assert cell == (f"{best:.2f} ({k})" if best > 1 else f"{best:.2f}")


def test_the_acceptance_that_is_needed_is_where_one_drafted_token_pays() -> None:
    for width_text, *_speedups, with_model, for_nothing in rows("| n | p = 0.6 |"):
        step, target = times()[int(width_text)]
        for cost, told in ((step, with_model), (0.0, for_nothing)):
            needed = max(0.0, (target[1] + cost) / target[0] - 1)
            assert told == (f"{needed:.2f}" if needed <= 1 else "never")


def test_machine_hours_follow_from_tokens_per_second() -> None:
    hours = rows("| at once | plain | with speculation |")
    rates = rows("| at once | plain, tok/s |")
    assert len(hours) == len(rates) > 3
    for (width, plain, fast), (same, plain_rate, fast_rate, *_more) in zip(
        hours, rates, strict=True
    ):
        assert width == same
        for told, rate in ((plain, plain_rate), (fast, fast_rate)):
            assert told == f"{1_000_000 * 100 / 3600 / float(rate):.0f}"
