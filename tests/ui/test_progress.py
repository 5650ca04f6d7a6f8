from __future__ import annotations

import io
from time import monotonic, sleep

import pytest
from rich.console import Console

from specli.hub.progress import Progress
from specli.ui.progress import reporting
from tests.ui.screen import Screen

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_file_gets_one_line_where_nobody_watches() -> None:
    out = io.StringIO()
    with reporting(console=Console(file=out, width=40)) as report:
        for done in (0, 50, 100):
            report(Progress("fetch", NAME, done, 100))
        report(Progress("make", "[red]model.gguf", 0, None))
    assert out.getvalue() == f"downloading {NAME}\nmaking [red]model.gguf\n"


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    with reporting(quiet=True, console=Console(file=out)) as report:
        report(Progress("fetch", NAME, 0, 100))
    assert out.getvalue() == ""


@pytest.mark.parametrize("width", [40, 72, 200])
def test_a_terminal_gets_a_bar_that_fits_and_stays(width: int) -> None:
    screen = Screen(width, 10)
    with reporting(console=terminal(screen)) as report:
        report(Progress("fetch", NAME, 0, None))
        report(Progress("fetch", NAME, 49_000_000, 98_000_000))
        report(Progress("fetch", NAME, 98_000_000, 98_000_000))
        report(Progress("make", "target.gguf", 538_000_000, 538_000_000))
    fetched, made = screen.lines
    assert fetched.startswith("downloading Sm")
    assert "98.0/98.0 MB" in fetched
    assert made.startswith("making target")
    assert "538.0/538.0 MB" in made
    assert not screen.wrapped


def test_a_terminal_sees_nothing_when_there_is_nothing_to_wait_for() -> None:
    screen = Screen(80, 10)
    with reporting(console=terminal(screen)):
        pass
    assert screen.writes == 0


def terminal(screen: Screen) -> Console:
    return Console(
        file=screen,
        force_terminal=True,
        width=screen.width,
        height=screen.height,
        no_color=True,
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )


def test_the_steps_that_leave_nothing_have_one_bar_in_turn_and_vanish() -> None:
    screen = Screen(80, 10)
    with reporting(console=terminal(screen)) as report:
        report(Progress("check", "target.gguf", 0, None))
        report(Progress("load", "target.gguf", 25_000_000, 100_000_000))
        (line,) = screen.window
        assert line.startswith("loading target.gguf")
        assert line.endswith("25%")
        report(Progress("measure", "target.gguf", 3, 13))
        (line,) = screen.window
        assert line.startswith("measuring target.gguf")
        assert line.endswith("3/13, Ctrl-C skips")
    assert screen.window == []


def test_a_slow_step_gets_a_line_where_no_bar_is_possible_and_a_quick_one_none() -> None:
    out = io.StringIO()
    console = Console(file=out, width=40)
    with reporting(console=console, slow_seconds=0.01) as report:
        report(Progress("load", NAME, 0, 100))
        until = monotonic() + 10
        while not out.getvalue() and monotonic() < until:
            sleep(0.01)
    with reporting(console=console, slow_seconds=3600) as report:
        report(Progress("measure", NAME, 0, 13))
    assert out.getvalue() == f"loading {NAME} …\n"
