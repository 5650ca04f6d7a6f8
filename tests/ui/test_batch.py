"""The bar of a batch, and its last line."""

from __future__ import annotations

import io
from time import perf_counter

import pytest
from rich.console import Console

from specli.batch.totals import Failure, Totals
from specli.figures import duration
from specli.ui.batch import BatchView, status, summary
from tests.ui.made import drafted_stats
from tests.ui.screen import Screen
from tests.ui.test_progress import terminal


@pytest.fixture
def totals() -> Totals:
    """40 of 100 prompts done in 80 seconds, 10 of them by an earlier run; 9 tokens."""
    return Totals(
        expected=100,
        answered=28,
        earlier=10,
        failed=2,
        stats=drafted_stats(),
        since=perf_counter() - 80,
    )


@pytest.mark.parametrize("width", [40, 72, 200])
def test_a_terminal_gets_a_bar_that_fits_and_failures_above_it(width: int, totals: Totals) -> None:
    screen = Screen(width, 10)
    with BatchView(terminal(screen), totals) as view:
        view.failed(Failure("p.jsonl:7", "not JSON"))
        view.changed(totals)
    assert screen.lines[0] == "p.jsonl:7: not JSON"
    (bar,) = screen.lines[1:]
    assert "40/100" in bar
    assert "2 failed" in bar
    assert ("accepted" in bar) == (width >= 72)
    assert not screen.wrapped


def test_elsewhere_only_failures_are_told(totals: Totals) -> None:
    out = io.StringIO()
    with BatchView(Console(file=out, width=20), totals) as view:
        view.changed(totals)
        view.failed(Failure("prompts.jsonl:7", "[red]not JSON, and a long reason"))
        view.changed(totals)
    assert out.getvalue() == "prompts.jsonl:7: [red]not JSON, and a long reason\n"


def test_the_figures_are_those_of_the_totals(totals: Totals) -> None:
    assert status(totals, wide=True) == (
        "40/100  2 failed  0.1 tok/s  2 min 40 s left  67% accepted"
    )
    totals.expected = None
    assert status(totals, wide=False).endswith("40/–  2 failed  0.1 tok/s  –  67%")
    assert summary(totals) == (
        "28 answered, 10 earlier, 2 failed, 9 tokens in 1 min 20 s at 0.1 tok/s, "
        "accepted 6 of 9 drafted (66.7%)"
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "–"), (0.4, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7260, "2 h 01 min")],
)
def test_time_is_told_in_two_units(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected
