"""The progress of a bench: a bar on a terminal, few lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from specli.ui.bench_progress import watching


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(console: Console, total: int, done: int, *, quiet: bool = False) -> None:
    clock = Clock()
    with watching(total, quiet=quiet, console=console, clock=clock) as watch:
        watch("warming up", 0)
        for number in range(1, done + 1):
            clock.now += 3.0
            watch(f"auto on story-{number}", number)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_sees_how_many_runs_and_how_long(width: int) -> None:
    out = io.StringIO()
    watched(Console(file=out, width=width, force_terminal=True, color_system=None), 40, 20)
    assert "20/40" in out.getvalue()
    assert "1 min 00 s left" in out.getvalue()


def test_a_log_gets_about_ten_lines() -> None:
    out = io.StringIO()
    watched(Console(file=out, width=80), 200, 200)
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "20 of 200 runs, 9 min 00 s left"
    assert lines[-1] == "200 of 200 runs, 0 s left"


def test_quiet_is_quiet() -> None:
    out = io.StringIO()
    watched(Console(file=out, width=80, force_terminal=True), 10, 10, quiet=True)
    assert out.getvalue() == ""
