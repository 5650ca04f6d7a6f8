"""What `specli tune` shows while it measures and at the end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from specli.bench.evidence import Row
from specli.bench.halving import Drop
from specli.bench.tuner import SearchState
from specli.ui.tune import outcome, watching
from tests.ui.screen import Screen
from tests.ui.test_live import console_on

ROWS = [
    Row("draft 8 p-min 0.5 -td 1", 31.2, 1.52, (1.41, 1.5, 1.63), 14, None, chosen=True),
    Row("auto", 29.0, 1.44, (1.3, 1.4, 1.5), 20, None, chosen=False),
    Row(
        "draft [2]",
        20.1,
        0.98,
        (0.9, 1.0, 1.1),
        3,
        Drop("drafting", 3, "in the slower half"),
        False,
    ),
]


def printed(width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(outcome(ROWS, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 71, 72, 120])
def test_every_setting_has_a_row_that_fits(width: int) -> None:
    text = printed(width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "1.52" in text
    assert "draft [2]" in text


def test_a_wide_table_says_what_was_chosen_and_why_others_left() -> None:
    lines = printed(120).splitlines()
    figures = "draft 8 p-min 0.5 -td 1 31.2 1.52 1.41 1.50 1.63 14 chosen"
    assert lines[1].split() == figures.split()
    assert lines[3].rstrip().endswith("drafting: in the slower half")


def test_away_from_a_terminal_each_stage_has_one_line() -> None:
    console = Console(file=io.StringIO(), width=20)
    with watching(60, quiet=False, console=console) as watch:
        watch(SearchState("drafting", 0, None, None), 1.0)
        watch(SearchState("drafting", 5, "auto", 1.2), 2.0)
        watch(SearchState("final", 2, "auto", 1.3), 30.0)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "1 s: drafting",
        "30 s: final, 2 settings; best 1.30×: auto",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_shows_the_time_left_and_the_best_so_far(width: int) -> None:
    screen = Screen(width, 5)
    with watching(180, quiet=False, console=console_on(screen)) as watch:
        watch(SearchState("drafting", 12, "draft 8 p-min 0.5 -td 1 -ctkd q8_0", 1.234), 2.0)
    (line,) = screen.lines
    assert "3:00 left drafting, 12 settings" in line
    assert "1.23×" in line
    assert ("best 1.23×: draft 8 p-min" in line) is (width >= 80)
    assert not screen.wrapped


def test_a_narrow_table_marks_what_was_chosen() -> None:
    text = " ".join(printed(40).split())
    assert "(chosen)" in text


def test_nothing_is_shown_when_quiet() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with watching(180, quiet=True, console=console) as watch:
        watch(SearchState("drafting", 5, "auto", 1.234), 2.0)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
