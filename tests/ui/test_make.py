from __future__ import annotations

import io

import pytest
from rich.console import Console

from specli.drafts.evaluator import Trial
from specli.drafts.score import Expected
from specli.engine.cost import Curve
from specli.ui.make import make_progress, trials_table


def trial(speedup: float, name: str = "Q4_0") -> Trial:
    expected = Expected(50 * speedup, speedup, 0.75, 2.0, 4, 0.0)
    return Trial(name, 90 << 20, Curve([1, 2], [8.5, 9.5]), expected, ())


def test_a_pipe_gets_a_line_for_each_step_before_the_first_and_for_each_new_best() -> None:
    out = io.StringIO()
    first, second = trial(1.1), trial(1.25, "Q8_0")
    with make_progress(console=Console(file=out, width=20)) as on_progress:
        on_progress("timing the target", 0.0, None)
        for best in (first, first, second, second):
            on_progress("trying Q8_0", 0.5, best)
    assert out.getvalue().splitlines() == [
        "timing the target",
        "best so far: Q4_0, expected 1.10×",
        "best so far: Q8_0, expected 1.25×",
    ]


@pytest.mark.parametrize(("width", "shown"), [(100, True), (40, False)])
def test_a_terminal_shows_the_best_so_far_where_there_is_room(width: int, shown: bool) -> None:
    out = io.StringIO()
    with make_progress(console=Console(file=out, width=width, force_terminal=True)) as on_progress:
        on_progress("trying [bold]", 0.5, trial(1.25))
        # More than the budget is no more than the whole bar.
        on_progress("trying Q8_0", 1.5, trial(1.25))
    assert "100%" in out.getvalue()
    assert ("best 1.25× Q4_0" in out.getvalue()) is shown


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    with make_progress(quiet=True, console=Console(file=out)) as on_progress:
        on_progress("timing the target", 0.0, trial(1.1))
    assert out.getvalue() == ""


def test_the_table_has_a_row_for_each_trial() -> None:
    trials = [trial(2.0), trial(1.1, "Q8_0")]
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(trials_table(trials))
    names, *rows = console.export_text().splitlines()
    assert names.split() == ["type", "size", "ms/token", "agrees", "speed-up"]
    assert [row.split() for row in rows] == [
        ["Q4_0", "90", "MiB", "8.5", "75%", "2.00×"],
        ["Q8_0", "90", "MiB", "8.5", "75%", "1.10×"],
    ]
