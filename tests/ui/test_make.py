from __future__ import annotations

import io

import pytest
from rich.console import Console

from specli.making.blocks import Blocks
from specli.making.make import Found
from specli.making.score import Expected
from specli.making.search import Trial, Variant
from specli.ui.make import SHOWN, searching, trials_table


def trial(speedup: float, *dropped: int) -> Trial:
    expected = Expected(50 * speedup, speedup, 0.75, 2.0, 4, 0.0)
    return Trial(Variant("Q4_0", dropped), 90 << 20, 8.5, expected, ())


def test_a_pipe_gets_a_line_for_each_step_before_the_first_and_for_each_new_best() -> None:
    out = io.StringIO()
    first, second = trial(1.1), trial(1.25, 4, 5)
    with searching(console=Console(file=out, width=20)) as tell:
        tell("timing the target", 0.0, None)
        for best in (first, first, second, second):
            tell("trying Q8_0", 0.5, best)
    assert out.getvalue().splitlines() == [
        "timing the target",
        "best so far: Q4_0, 1.10× expected",
        "best so far: Q4_0 without 4-5, 1.25× expected",
    ]


@pytest.mark.parametrize(("width", "shown"), [(100, True), (40, False)])
def test_a_terminal_shows_the_best_so_far_where_there_is_room(width: int, shown: bool) -> None:
    out = io.StringIO()
    with searching(console=Console(file=out, width=width, force_terminal=True)) as tell:
        tell("trying [bold]", 0.5, trial(1.25))
        # More than the budget is no more than the whole bar.
        tell("trying Q8_0", 1.5, trial(1.25))
    assert "100%" in out.getvalue()
    assert ("best 1.25× Q4_0" in out.getvalue()) is shown


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    with searching(quiet=True, console=Console(file=out)) as tell:
        tell("timing the target", 0.0, trial(1.1))
    assert out.getvalue() == ""


def test_the_table_holds_the_best_trials_only() -> None:
    trials = [trial(2 - place / 100, place) for place in range(SHOWN + 5)]
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(trials_table(Found(trials, 20.0, Blocks(30), 500, 60.0, None)))
    _names, first, *others = console.export_text().splitlines()
    assert first.split() == ["Q4_0", "0", "90", "MiB", "8.5", "75%", "2.00×"]
    assert len(others) == SHOWN - 1
